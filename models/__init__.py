"""Networks: catalogue, cost and construction."""
