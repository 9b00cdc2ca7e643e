"""Moments of the patches and their backward pass."""
