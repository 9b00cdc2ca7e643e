"""Checks of finished wheels: what they hold, what they need of the system, what they may not do."""

from __future__ import annotations

import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from platforms import Platform

__all__ = ["check_files", "check_wheel"]

# glibc that torch's own wheels ask for
NEWEST_MANYLINUX = (2, 28)
SYSTEM_DLLS = {"kernel32.dll", "msvcrt.dll"}
SYSTEM_DYLIBS = {"/usr/lib/libSystem.B.dylib"}


def _libraries(wheel: Path, folder: Path) -> list[Path]:
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.endswith((".so", ".dll", ".dylib"))]
        archive.extractall(folder, names)
    if len(names) != 2:
        raise SystemExit(f"{wheel.name}: two libraries expected, found {names}")
    return [folder / name for name in names]


def _linux(tools: Path, wheel: Path, libraries: list[Path]) -> None:
    print(subprocess.run([tools / "auditwheel", "show", wheel], check=True, text=True,
                         capture_output=True).stdout)  # fmt: skip
    found = re.findall(r"manylinux_(\d+)_(\d+)", wheel.name)
    if not found or min((int(a), int(b)) for a, b in found) > NEWEST_MANYLINUX:
        raise SystemExit(f"{wheel.name}: newer than manylinux_2_28")
    for path in libraries:
        needed = subprocess.run(["readelf", "-d", path], check=True, text=True,
                                capture_output=True).stdout  # fmt: skip
        if re.search(r"NEEDED.*(gomp|omp5)", needed):
            raise SystemExit(f"{path.name}: links an OpenMP runtime; it must use torch's")


def _windows(_tools: Path, wheel: Path, libraries: list[Path]) -> None:
    for path in libraries:

        def dump(*flags: str, path: Path = path) -> str:
            program = ["x86_64-w64-mingw32-objdump", *flags, str(path)]
            return subprocess.run(program, check=True, text=True, capture_output=True).stdout

        needed = {name.lower() for name in re.findall(r"DLL Name: (\S+)", dump("-p"))}
        if needed - SYSTEM_DLLS:
            raise SystemExit(f"{wheel.name}: {path.name} needs {sorted(needed - SYSTEM_DLLS)}")
        # Stacks are aligned to 16 bytes there, and the compiler does not care.
        aligned = re.findall(r"vmov(?:ap[sd]|dqa\d*)\s.*\((?:%rsp|%rbp).*", dump("-d"))
        wide = [line for line in aligned if "%ymm" in line or "%zmm" in line]
        if wide:
            raise SystemExit(f"{path.name}: moves of aligned vectors on the stack: {wide[0]}")


def _macos(tools: Path, wheel: Path, libraries: list[Path]) -> None:
    code = (
        "import sys; from macholib.MachO import MachO\n"
        "for h in MachO(sys.argv[1]).headers:\n"
        "    for _, c, d in h.commands:\n"
        "        if type(c).__name__ == 'dylib_command': print(d.rstrip(b'\\0').decode())"
    )
    for path in libraries:
        run = subprocess.run([tools / "python", "-c", code, path], check=True, text=True,
                             capture_output=True)  # fmt: skip
        needed = {line for line in run.stdout.splitlines() if not line.endswith(path.name)}
        if needed - SYSTEM_DYLIBS:
            raise SystemExit(f"{wheel.name}: {path.name} needs {sorted(needed - SYSTEM_DYLIBS)}")


_CHECKS: dict[str, Callable[[Path, Path, list[Path]], None]] = {
    "linux": _linux,
    "windows": _windows,
    "macos": _macos,
}


def check_wheel(tools: Path, wheel: Path, platform: Platform, work: Path) -> None:
    """Raises SystemExit if a wheel could not run on every machine that its tag promises."""
    libraries = _libraries(wheel, work / f"checked-{platform.name}")
    _CHECKS[platform.name.split("-")[0]](tools, wheel, libraries)


def check_files(tools: Path, files: list[Path]) -> None:
    """Metadata of all files, contents of the wheels."""
    subprocess.run([tools / "twine", "check", "--strict", *files], check=True)
    wheels = [path for path in files if path.suffix == ".whl"]
    subprocess.run([tools / "check-wheel-contents", *wheels], check=True)
