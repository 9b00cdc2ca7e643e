"""What tests and benchmarks share: oracles and helpers, each tested itself."""
