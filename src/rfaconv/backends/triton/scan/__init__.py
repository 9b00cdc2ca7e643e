"""The row scan of the backward pass: gradients of the features, of their parameters and of x."""
