"""Handing in a result: the report, its figures and the exports."""
