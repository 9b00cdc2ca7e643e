"""Bodies that a server on the open network meets, and the status that each must get."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Hostile:
    content_type: str
    body: bytes
    status: int


def hostile_requests(max_bytes: int, max_pixels: int) -> dict[str, Hostile]:
    """Requests for a server with these limits, by what is wrong with them."""
    jpeg, png = picture("JPEG"), picture("PNG")
    side = int(max_pixels**0.5) + 1
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    return {
        "empty": Hostile("image/jpeg", b"", 400),
        "truncated jpeg": Hostile("image/jpeg", jpeg[: len(jpeg) // 2], 422),
        "truncated png": Hostile("image/png", png[: len(png) // 2], 422),
        "header alone": Hostile("image/png", png[:33], 422),
        "noise": Hostile("image/jpeg", bytes(range(256)) * 64, 422),
        "zeros": Hostile("image/png", bytes(4096), 422),
        "damaged png": Hostile("image/png", png[:60] + bytes(16) + png[76:], 422),
        "png as jpeg": Hostile("image/jpeg", png, 422),
        "svg as png": Hostile("image/png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', 422),
        "svg": Hostile("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415),
        "html": Hostile("text/html", b"<script>alert(1)</script>", 415),
        "form": Hostile("multipart/form-data; boundary=b", b"--b--\r\n", 415),
        "no type": Hostile("", jpeg, 415),
        "too long": Hostile("image/jpeg", jpeg + bytes(max_bytes), 413),
        "bomb": Hostile("image/png", flat_png(side, side), 413),
        "huge header": Hostile("image/png", flat_png(2**31 - 1, 2**31 - 1, rows=1), 413),
        "zero size": Hostile("image/png", flat_png(0, 0), 422),
        "text bomb": Hostile("image/png", png[:33] + text_bomb() + png[33:], 422),
        "many scans": Hostile("image/jpeg", jpeg[:-2] + scan * 5000 + b"\xff\xd9", 422),
    }


def picture(kind: str, size: tuple[int, int] = (160, 120)) -> bytes:
    """A smooth picture as a file."""
    file = io.BytesIO()
    coarse = Image.effect_noise((size[0] // 8, size[1] // 8), 100).convert("RGB")
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def flat_png(width: int, height: int, rows: int | None = None) -> bytes:
    """A black PNG that says it has this size: a few kilobytes for millions of pixels."""
    compressor, data = zlib.compressobj(9), b""
    for _ in range(height if rows is None else rows):
        data += compressor.compress(bytes(1 + min(width, 1 << 16) // 8))
    data += compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    """A chunk of compressed text of a hundred megabytes."""
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(100)) + compressor.flush()
    return _chunk(b"zTXt", b"comment\0\0" + data)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
