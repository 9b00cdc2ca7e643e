"""Data sets in YOLO's form: reading, and writing them from folders of other forms."""
