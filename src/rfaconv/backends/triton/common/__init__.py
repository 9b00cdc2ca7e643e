"""What the kernels of several operations share: launching, operands, tiles, device functions."""
