"""Gradients layer by layer: maps over the epochs, and profiles from the first layer to the last."""
