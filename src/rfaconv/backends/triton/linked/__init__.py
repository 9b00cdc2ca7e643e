"""Backward passes of statistics and projection with one row scan for both."""
