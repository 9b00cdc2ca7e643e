"""A finished comparison as tables, figures and a page."""

from rfaconv.lab.report.write import write_report

__all__ = ["write_report"]
