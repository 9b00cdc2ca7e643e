"""report.html and the PNG plots of a finished comparison."""

from rfaconv.compare.report.write import write_report

__all__ = ["write_report"]
