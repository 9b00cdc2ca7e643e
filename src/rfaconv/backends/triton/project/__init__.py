"""The projection and its backward pass."""
