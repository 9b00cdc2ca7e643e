"""A whole layer in inference."""
