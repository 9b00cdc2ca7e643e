"""The command line, one file per command; heavy imports happen when a command runs."""
