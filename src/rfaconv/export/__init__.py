"""Export of networks with the operators to other runtimes."""
