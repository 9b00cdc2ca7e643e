"""Why a network says what it says: class activation maps, gates, prediction and truth.

Needs the extra ``explain``.
"""

from rfaconv.lab.explain.figures import Panel, figure_of, png_of
from rfaconv.lab.explain.images import explain_image
from rfaconv.lab.explain.views import View, open_view, view_of

__all__ = ["Panel", "View", "explain_image", "figure_of", "open_view", "png_of", "view_of"]
