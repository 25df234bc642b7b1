"""Widgets; they render data they are given and fetch none."""
