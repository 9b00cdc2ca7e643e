"""Writes every picture and every figure in the text: ``python -m docs.figures``."""

from docs.figures.drawing import HERE, files
from docs.figures.evidence import missing, with_blocks
from docs.figures.values import filled, pages, values

for name, text in files().items():
    (HERE / name).write_text(text, encoding="utf-8")
found = values()
for page in pages():
    if page.exists():
        text = with_blocks(page.read_text(encoding="utf-8"))
        page.write_text(filled(text, found), encoding="utf-8")
for sentence in missing():
    print(f"missing: {sentence}")
