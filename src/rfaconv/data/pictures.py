"""Opens picture files with Pillow, whatever other libraries have made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

from PIL import Image

__all__ = ["open_picture"]


def open_picture(file: str | Path | IO[bytes]) -> Image.Image:
    """Pillow's own ``Image.open``.

    ultralytics, once imported, replaces it by a function that answers a damaged file with the
    installation of a package from the network.

    Args:
        file: path, or an open binary file.

    Raises:
        UnidentifiedImageError: the content is no picture.
        OSError: the file cannot be read.
    """
    patches: Any = sys.modules.get("ultralytics.utils.patches")
    opened: Image.Image = getattr(patches, "_image_open", Image.open)(file)
    return opened
