"""Image files of odd kinds: read as a viewer shows them, or refused in one line."""

from __future__ import annotations

import io
import struct
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from rfaconv.decoding import (
    ImageProblem,
    TooManyPixels,
    has_image_suffix,
    image_size,
    is_image,
    open_image,
    read_image,
    read_indices,
    stored_size,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
WIDE, HIGH = 48, 32


def corners() -> Image.Image:
    """Quarters of red, green, blue and white, from the upper left by rows."""
    image = Image.new("RGB", (WIDE, HIGH), RED)
    image.paste(GREEN, (WIDE // 2, 0, WIDE, HIGH // 2))
    image.paste(BLUE, (0, HIGH // 2, WIDE // 2, HIGH))
    image.paste(WHITE, (WIDE // 2, HIGH // 2, WIDE, HIGH))
    return image


def quarters(image: Image.Image) -> list[tuple[int, ...]]:
    wide, high = image.size
    places = [(x, y) for y in (high // 4, 3 * high // 4) for x in (wide // 4, 3 * wide // 4)]
    return [image.getpixel(place) for place in places]  # type: ignore[misc]


def stored(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def turned(orientation: int, kind: str, **options: object) -> io.BytesIO:
    """The corners, stored so that a viewer that obeys EXIF shows them upright."""
    back = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]  # fmt: skip
    image = corners()
    for step in back:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(image, kind, exif=exif, **options)


def animated(kind: str) -> io.BytesIO:
    later = Image.new("RGB", (WIDE, HIGH), (1, 2, 3))
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return stored(corners(), kind, save_all=True, append_images=[later], **lossless)


def transparent(image: Image.Image) -> Image.Image:
    """The corners with what hides behind the white one set to black and transparent."""
    image = image.convert("RGBA")
    image.paste((0, 0, 0, 0), (WIDE // 2, HIGH // 2, WIDE, HIGH))
    return image


def transparent_palette() -> io.BytesIO:
    image = corners().quantize(8)
    hidden = image.getpixel((WIDE - 1, HIGH - 1))
    palette = image.getpalette()
    assert palette is not None and isinstance(hidden, int)
    palette[3 * hidden : 3 * hidden + 3] = [9, 9, 9]
    image.putpalette(palette)
    return stored(image, "PNG", transparency=hidden)


def damaged_exif() -> io.BytesIO:
    return stored(
        corners(), "JPEG", quality=98, subsampling=0, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"
    )


JPEG = {"quality": 98, "subsampling": 0}
COLOURS: dict[str, Callable[[], io.BytesIO]] = {
    "png": lambda: stored(corners(), "PNG"),
    "bmp": lambda: stored(corners(), "BMP"),
    "ppm": lambda: stored(corners(), "PPM"),
    "tga": lambda: stored(corners(), "TGA"),
    "jpeg 2000": lambda: stored(corners(), "JPEG2000"),
    "tiff": lambda: stored(corners(), "TIFF"),
    "tiff, deflated": lambda: stored(corners(), "TIFF", compression="tiff_deflate"),
    "palette png": lambda: stored(corners().quantize(8), "PNG"),
    "palette gif": lambda: stored(corners(), "GIF"),
    "palette bmp": lambda: stored(corners().quantize(8), "BMP"),
    "palette, transparent": transparent_palette,
    "alpha png": lambda: stored(transparent(corners()), "PNG"),
    "alpha webp": lambda: stored(transparent(corners()), "WEBP", lossless=True),
    "alpha tiff": lambda: stored(transparent(corners()), "TIFF"),
    "alpha gif": lambda: stored(transparent(corners()), "GIF"),
    "progressive jpeg": lambda: stored(corners(), "JPEG", progressive=True, **JPEG),
    "cmyk jpeg": lambda: stored(corners().convert("CMYK"), "JPEG", **JPEG),
    "cmyk tiff": lambda: stored(corners().convert("CMYK"), "TIFF"),
    "ycbcr tiff": lambda: stored(corners().convert("YCbCr"), "TIFF"),
    "damaged exif": damaged_exif,
    "animated gif": lambda: animated("GIF"),
    "animated png": lambda: animated("PNG"),
    "animated webp": lambda: animated("WEBP"),
    "tiff of two pages": lambda: animated("TIFF"),
    "two photos in one": lambda: stored(
        corners(), "MPO", save_all=True, append_images=[Image.new("RGB", (WIDE, HIGH))], **JPEG
    ),
    **{
        f"jpeg, orientation {n}": lambda n=n: turned(n, "JPEG", **JPEG)  # type: ignore[misc]
        for n in range(1, 9)
    },
    "png, turned": lambda: turned(6, "PNG"),
    "webp, turned": lambda: turned(8, "WEBP", lossless=True),
    "tiff, turned": lambda: turned(3, "TIFF"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("kind", COLOURS)
def test_colours_where_a_viewer_shows_them(kind: str) -> None:
    image = read_image(COLOURS[kind]())
    assert (image.mode, image.size) == ("RGB", (WIDE, HIGH))
    for found, expected in zip(quarters(image), (RED, GREEN, BLUE, WHITE), strict=True):
        assert np.abs(np.subtract(found, expected)).max() <= 6, (kind, found, expected)


def ramp(dtype: str, low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 256).astype(dtype).reshape(16, 16)


GREY: dict[str, tuple[Callable[[], io.BytesIO], np.ndarray]] = {
    "grey": (lambda: stored(Image.fromarray(ramp("uint8", 0, 255)), "PNG"), np.arange(256)),
    "grey with alpha": (
        lambda: stored(Image.fromarray(ramp("uint8", 0, 255)).convert("LA"), "PNG"),
        np.arange(256),
    ),
    "16-bit png": (
        lambda: stored(Image.fromarray(ramp("uint16", 0, 65535)), "PNG"), np.arange(256),
    ),
    "16-bit tiff": (
        lambda: stored(Image.fromarray(ramp("uint16", 0, 65535)), "TIFF"), np.arange(256),
    ),
    "16-bit tiff, big-endian": (
        lambda: stored(Image.frombytes("I;16B", (16, 16), ramp(">u2", 0, 65535).tobytes()),
                       "TIFF"),
        np.arange(256),
    ),
    "16-bit pgm": (
        lambda: io.BytesIO(b"P5 16 16 65535\n" + ramp(">u2", 0, 65535).tobytes()),
        np.arange(256),
    ),
    "32-bit integers": (
        lambda: stored(Image.fromarray(ramp("int32", 0, 65535)), "TIFF"), np.arange(256),
    ),
    "32-bit integers, wide": (
        lambda: stored(Image.fromarray(ramp("int32", -1e6, 1e6)), "TIFF"), np.arange(256),
    ),
    "float in 0 .. 1": (
        lambda: stored(Image.fromarray(ramp("float32", 0, 1)), "TIFF"), np.arange(256),
    ),
    "float in 0 .. 255": (
        lambda: stored(Image.fromarray(ramp("float32", 0, 255)), "TIFF"), np.arange(256),
    ),
    "float in 0 .. 65535": (
        lambda: stored(Image.fromarray(ramp("float32", 0, 65535)), "TIFF"), np.arange(256),
    ),
    "float of both signs": (
        lambda: stored(Image.fromarray(ramp("float32", -3, 5)), "TIFF"), np.arange(256),
    ),
    "one bit": (
        lambda: stored(Image.fromarray(ramp("uint8", 0, 255)).convert("1", dither=0), "PNG"),
        np.where(np.arange(256) >= 128, 255, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREY)
def test_grey_by_the_stated_rule(kind: str) -> None:
    make, expected = GREY[kind]
    pixels = np.asarray(read_image(make()))
    assert (pixels == pixels[..., :1]).all()
    assert np.abs(pixels[..., 0].reshape(-1).astype(int) - expected).max() <= 1


def huge(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def png() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return stored(Image.fromarray(noise), "PNG").getvalue()


REFUSED = {
    "empty": (b"", "not an image"),
    "text": (b"this is no image", "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "html": (b"<html>404</html>", "not an image"),
    "cut png": (png()[:900], "truncated|broken|incomplete"),
    "cut jpeg": (stored(corners(), "JPEG").getvalue()[:400], "runcated|broken|not an image"),
    "cut tiff": (stored(corners(), "TIFF").getvalue()[:64], "."),
    "damaged png": (png()[:60] + bytes(64) + png()[124:], "."),
    "damaged gif": (stored(corners(), "GIF").getvalue()[:30], "."),
    "not finite": (
        stored(Image.fromarray(np.full((4, 4), np.nan, "float32")), "TIFF").getvalue(),
        "not finite",
    ),
    "30000 pixels a side": (huge(30000, 30000), "pixels"),
    "10000 pixels a side": (huge(10000, 10000), "pixels"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_image_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    content, reason = REFUSED[kind]
    (file := tmp_path / "odd.png").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(ImageProblem, match=reason) as caught:
            read(file)
        assert "\n" not in str(caught.value)
    if "a side" in kind:
        with pytest.raises(TooManyPixels):
            read_image(file)


def test_missing_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageProblem, match="no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageProblem, match=r"directory|denied"):
        read_image(tmp_path)


def test_sizes_and_names(tmp_path: Path) -> None:
    (file := tmp_path / "photo.JFIF").write_bytes(turned(6, "JPEG").getvalue())
    assert (image_size(file), stored_size(file)) == ((WIDE, HIGH), (HIGH, WIDE))
    assert has_image_suffix(file)
    assert not has_image_suffix(tmp_path / "label.xml")
    assert is_image(file)
    (file := tmp_path / "notes").write_text("none", encoding="utf-8")
    assert not is_image(file)


def numbers() -> np.ndarray:
    values = np.zeros((8, 8), np.uint8)
    values[2:5, 3:7] = 1
    values[0] = 255
    return values


def palette_mask(colours: bool) -> Image.Image:
    image = Image.fromarray(numbers(), "L").convert("L")
    indexed = Image.frombytes("P", image.size, image.tobytes())
    indexed.putpalette(
        [value for n in range(256) for value in ((n, 0, 128) if colours else (n,) * 3)]
    )
    return indexed


MASKS = {
    "grey": lambda: stored(Image.fromarray(numbers()), "PNG"),
    "palette": lambda: stored(palette_mask(True), "PNG"),
    "grey palette": lambda: stored(palette_mask(False), "BMP"),
    "rgb copy": lambda: stored(Image.fromarray(numbers()).convert("RGB"), "PNG"),
    "rgba copy": lambda: stored(Image.fromarray(numbers()).convert("RGBA"), "PNG"),
    "grey with alpha": lambda: stored(Image.fromarray(numbers()).convert("LA"), "PNG"),
    "16 bits": lambda: stored(Image.fromarray(numbers().astype("uint16")), "PNG"),
    "32 bits": lambda: stored(Image.fromarray(numbers().astype("int32")), "TIFF"),
    "floating point": lambda: stored(Image.fromarray(numbers().astype("float32")), "TIFF"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_numbers_of_masks(kind: str, tmp_path: Path) -> None:
    (file := tmp_path / "mask.png").write_bytes(MASKS[kind]().getvalue())
    assert (read_indices(file) == numbers()).all()


def test_masks_of_one_bit_have_zeros_and_ones(tmp_path: Path) -> None:
    Image.fromarray(numbers() == 1).save(file := tmp_path / "mask.png")
    assert (read_indices(file) == (numbers() == 1)).all()


@pytest.mark.parametrize(
    ("image", "kind", "reason"),
    [
        (corners(), "PNG", r"colours such as \(255, 0, 0\)"),
        (corners().convert("CMYK"), "TIFF", "pixels of kind CMYK"),
        (Image.fromarray(numbers()), "JPEG", "a JPEG, which changes"),
        (Image.fromarray(numbers().astype("float32") / 2), "TIFF", "pixels of kind F"),
    ],
)
def test_masks_without_numbers(image: Image.Image, kind: str, reason: str, tmp_path: Path) -> None:
    (file := tmp_path / "mask").write_bytes(stored(image, kind).getvalue())
    with pytest.raises(ImageProblem, match=reason):
        read_indices(file)


def test_a_replaced_open_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ultralytics does it: its function would install a package to read a damaged file."""

    def installs(*args: object) -> Image.Image:
        raise AssertionError("the replaced function was called")

    # in a process that has imported ultralytics, Pillow's own is where it put it
    original = getattr(sys.modules.get("ultralytics.utils.patches"), "_image_open", Image.open)
    patches = types.ModuleType("ultralytics.utils.patches")
    patches._image_open = original  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultralytics.utils.patches", patches)
    monkeypatch.setattr(Image, "open", installs)
    with pytest.raises(UnidentifiedImageError):
        open_image(io.BytesIO(b"no image"))
