"""Networks: what may be asked for, what it costs, and how it is built."""
