"""The documentation. Its code is ``docs.figures``; a package, so that no other is found."""
