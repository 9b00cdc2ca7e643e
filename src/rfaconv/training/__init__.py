"""Training of classifiers through Lightning.

May import: data and everything below it.
"""
