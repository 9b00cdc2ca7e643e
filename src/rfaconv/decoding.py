"""The one place where an image file becomes pixels, for every task, for prediction and servers.

An image is read as a viewer shows it: upright as its EXIF says, the first frame of an animation or
of several pages, palettes and CMYK as colours, transparency over white. What does not fit into 8
bits is scaled:

* 16-bit grey by 255 / 65535;
* 32-bit integers likewise where all are in 0 .. 65535, else from the smallest to the largest;
* floating point by 255 where all values are in [0, 1], as it is where all are in [0, 255],
  by 255 / 65535 where all are in [0, 65535], else from the smallest to the largest.

Images of more than ``PIL.Image.MAX_IMAGE_PIXELS`` pixels (89,478,485 unless changed) are refused
before they are decoded. Colour profiles are not applied.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rfaconv.errors import RFAConvError

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".avif",
    ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
)  # fmt: skip
"""Endings of image files, in lower case; files have them in any case."""

File = str | Path | IO[bytes]


class ImageProblem(RFAConvError):
    """An image file that is missing, damaged, too large or of an unknown kind; in one line."""


class TooManyPixels(ImageProblem):
    """An image of more pixels than are decoded."""


def has_image_suffix(path: Path) -> bool:
    """Whether the name says that this is an image."""
    return path.suffix.lower() in SUFFIXES


def is_image(path: Path) -> bool:
    """Whether the content is an image, by its header alone."""
    try:
        with open_image(path):
            return True
    except Exception:  # Pillow's decoders raise what they like; read_image says what it was
        return False


def open_image(file: File, formats: list[str] | None = None) -> Image.Image:
    """Pillow's own ``Image.open``.

    ultralytics, once imported, replaces it by a function that answers a damaged file with the
    installation of a package from the network.

    Args:
        file: path, or an open binary file.
        formats: decoders to try, by Pillow's names; None for all.

    Raises:
        UnidentifiedImageError: the content is no image.
        OSError: the file cannot be read.
    """
    patches: Any = sys.modules.get("ultralytics.utils.patches")
    opened: Image.Image = getattr(patches, "_image_open", Image.open)(file, formats=formats)
    return opened


def read_image(file: File, formats: list[str] | None = None) -> Image.Image:
    """An image file as 8-bit RGB, upright.

    Args:
        file: path, or an open binary file.
        formats: decoders to try, by Pillow's names; None for all.

    Raises:
        ImageProblem: it cannot be read; the message is the reason alone.

    Example:
        >>> import io
        >>> Image.new("LA", (3, 2), (0, 0)).save(file := io.BytesIO(), "PNG")
        >>> read_image(file).getpixel((0, 0))
        (255, 255, 255)
    """
    image = _loaded(file, formats)
    try:
        return _rgb(image)
    except (ValueError, OSError) as error:
        raise ImageProblem(f"pixels of kind {image.mode}, which have no colours here") from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as it is shown; it is decoded, so a damaged one is found here.

    Raises:
        ImageProblem: it cannot be read.
    """
    return read_image(path).size


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height of an image in its file, before it is turned upright.

    Raises:
        ImageProblem: it cannot be read.
    """
    try:
        with open_image(path) as image:
            return image.size
    except Exception as error:
        raise _problem(error) from error


def read_indices(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The number in every pixel of a mask (H, W): of a palette the index, of grey the value.

    Raises:
        ImageProblem: it cannot be read, is a lossy JPEG, or has colours.
    """
    image = _loaded(path, None)
    if image.format in ("JPEG", "MPO"):
        raise ImageProblem("a JPEG, which changes the numbers in its pixels; save it as PNG")
    if image.mode in ("LA", "PA"):
        image = image.getchannel(0)
    if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.int64)
    if image.mode in ("RGB", "RGBA"):
        values = np.asarray(image).astype(np.int64)
        coloured = (values[..., :3] != values[..., :1]).any(-1)
        if not coloured.any():
            return values[..., 0]
        row, column = np.argwhere(coloured)[0]
        colour = tuple(values[row, column, :3].tolist())
        raise ImageProblem(f"colours such as {colour}, not a class number in every pixel")
    if image.mode == "F":
        values = np.asarray(image)
        if np.isfinite(values).all() and (values == np.round(values)).all():
            return values.astype(np.int64)
    raise ImageProblem(f"pixels of kind {image.mode}, not a class number in every pixel")


def _loaded(file: File, formats: list[str] | None) -> Image.Image:
    """An image in memory, upright, in its own mode; ``format`` is kept."""
    try:
        with open_image(file, formats) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise TooManyPixels(f"{image.width}x{image.height} pixels, more than {limit}")
            image.load()
            kind = image.format
            upright = _upright(image)
            upright.format = kind
            return upright
    except ImageProblem:
        raise
    except Exception as error:  # Pillow passes on whatever its parsers trip over
        raise _problem(error) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF; viewers show the image as it is stored
        return image.copy()
    return turned.copy() if turned is image else turned


def _problem(error: Exception) -> ImageProblem:
    if isinstance(error, FileNotFoundError):
        return ImageProblem("no such file")
    if isinstance(error, UnidentifiedImageError | ImportError):
        # ImportError: where ultralytics is imported, Pillow looks for a plugin first
        return ImageProblem("not an image")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return TooManyPixels(str(error).splitlines()[0])
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ImageProblem(text.splitlines()[0])


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return Image.fromarray(_scaled(np.asarray(image))).convert("RGB")
    if mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
        return over.convert("RGB")
    return image.convert("RGB")


def _scaled(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Grey values of more than 8 bits as 8 bits, by the rule of this module."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ImageProblem("values that are not finite")
    low, high = float(wide.min(initial=0)), float(wide.max(initial=0))
    floating = values.dtype.kind == "f"
    if low < 0 or high > 65535:
        low = float(wide.min())
        wide = (wide - low) * (255 / max(high - low, 1e-300))
    elif floating and high <= 1:
        wide = wide * 255
    elif not floating or high > 255:
        wide = wide / 257
    scaled: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(wide).astype(np.uint8)
    return scaled
