"""Numbers as curves in a terminal; `plot` is the only importer of plotext."""
