"""A page on which one clicks a pixel and sees the gates of its window, without network.

Needs the extra ``explain``.
"""

from rfaconv.lab.inspector.page import inspector_page

__all__ = ["inspector_page"]
