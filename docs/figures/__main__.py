"""Writes every picture and every figure in the text: ``python -m docs.figures``."""

from docs.figures.drawing import HERE, files
from docs.figures.values import filled, pages, values

for name, text in files().items():
    (HERE / name).write_text(text, encoding="utf-8")
found = values()
for page in pages():
    if page.exists():
        page.write_text(filled(page.read_text(encoding="utf-8"), found), encoding="utf-8")
