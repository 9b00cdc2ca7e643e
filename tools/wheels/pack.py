"""Puts a platform's libraries into the wheel of the Python part and gives it the platform's tag."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from platforms import Platform

__all__ = ["pack"]


def pack(tools: Path, pure: Path, product: Path, platform: Platform, work: Path, out: Path) -> Path:
    """Builds the wheel of a platform.

    Args:
        tools: Folder of the programs of the script's environment.
        pure: Wheel without libraries.
        product: Folder with the libraries and build.json.
        platform: For whom.
        work: Folder for what lies between.
        out: Folder of the result.

    Returns:
        The wheel.
    """
    work = work / f"unpacked-{platform.name}"
    shutil.rmtree(work, ignore_errors=True)
    subprocess.run([tools / "wheel", "unpack", "--dest", work, pure], check=True)
    (content,) = work.iterdir()
    shutil.copytree(product, content / "rfaconv" / "backends" / "cpu", dirs_exist_ok=True)
    (record,) = content.glob("*.dist-info/WHEEL")
    text = record.read_text(encoding="utf-8")
    # The library is called through ctypes: one wheel for all Pythons and torches.
    text = re.sub(r"^Tag: .*$", f"Tag: py3-none-{platform.tag}", text, flags=re.MULTILINE)
    text = re.sub(r"^Root-Is-Purelib: .*$", "Root-Is-Purelib: false", text, flags=re.MULTILINE)
    record.write_text(text, encoding="utf-8")
    built = work / "wheel"
    built.mkdir()
    subprocess.run([tools / "wheel", "pack", "--dest-dir", built, content], check=True)
    (wheel,) = built.glob("*.whl")
    if not platform.linux:
        return Path(shutil.move(wheel, out / wheel.name))
    repaired = work / "repaired"
    subprocess.run(
        [tools / "auditwheel", "repair", "--wheel-dir", repaired, wheel],
        check=True,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
    )
    (wheel,) = repaired.glob("*.whl")
    return Path(shutil.move(wheel, out / wheel.name))
