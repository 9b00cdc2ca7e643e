"""Trains one network with every operator and says what differs.

May import: data, training and everything below them.
"""
