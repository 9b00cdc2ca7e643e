"""The pictures of the documentation, drawn by code: ``python -m docs.figures`` writes them."""
