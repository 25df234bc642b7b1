"""Versions of depthscope and its protocol; console and engine compare them on connecting."""

VERSION = "0.1.0"

PROTOCOL = 3
"""Increased when a request or reply changes its meaning."""
