"""The one place that holds the version; console and engine compare it when they meet."""

VERSION = "0.1.0"

PROTOCOL = 2
"""Changes when a request or a reply changes its meaning."""
