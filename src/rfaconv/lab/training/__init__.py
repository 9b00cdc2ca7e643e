"""What Lightning trains and what happens on the way: losses, schedules, saves, preemption.

May import: networks, recipes and data.
"""
