"""Statistics of the features and their backward pass."""
