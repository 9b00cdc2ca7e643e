#!/usr/bin/env python3
"""Builds, checks and runs the files of a release on one Linux machine.

    python3 tools/wheels/run.py --out dist

leaves an sdist and a wheel for every platform of platforms.py in ``dist``. It works on what is
committed, installs its tools (requirements.txt) into an environment of its own, and needs from the
distribution a C++ compiler, and for the other platforms cross compilers and emulators: on Debian
``g++ g++-aarch64-linux-gnu qemu-user libc6-arm64-cross g++-mingw-w64-x86-64-posix wine64 wine``.
A Python with torch (``--python``) runs the native wheel, a folder made by arm_root.sh
(``--arm-root``) that for ARM; with ``--tests`` the C++ tests run, too (long). What was proved goes
to ``--record``, from which benchmarks/tables.py makes the table of docs/platforms.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import venv
from datetime import date
from pathlib import Path
from typing import Any

import check
import execute
import source
from pack import pack
from platforms import PLATFORMS, Platform

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [platform.name for platform in PLATFORMS]
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the results")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument("--platform", action="append", choices=names, help="only these")
    parser.add_argument("--repository", help="public address, for links in README and metadata")
    parser.add_argument("--python", help="a Python with torch, to run the native wheel")
    parser.add_argument("--arm-root", type=Path, help="a Python with torch for ARM: arm_root.sh")
    parser.add_argument("--tests", action="store_true", help="run the C++ tests of each platform")
    parser.add_argument("--rounds", type=int, default=40, help="random problems of a C++ test")
    parser.add_argument("--record", type=Path, help="JSON file of what was proved, kept up to date")
    return parser.parse_args()


def record(
    path: Path, build: Path, platform: Platform, wheel: Path, proofs: dict[str, Any]
) -> None:
    """Puts a platform into the record; the other platforms stay in it."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    made = json.loads((build / "product" / "build.json").read_text(encoding="utf-8"))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True,
                            text=True, capture_output=True)  # fmt: skip
    content[platform.name] = {
        "wheel": wheel.name,
        "bytes": wheel.stat().st_size,
        "compiler": made["compiler"],
        "kernels": made["built for"].split(),
        "emulator": None if platform.emulator is None else " ".join(platform.emulator[:1]),
        "commit": commit.stdout.strip(),
        "date": date.today().isoformat(),
        **proofs,
    }
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def environment(work: Path) -> Path:
    """Folder of the programs of an environment with the tools."""
    folder = work / "tools"
    if not (folder / "bin" / "twine").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--requirement", HERE / "requirements.txt"], check=True)
    return folder / "bin"


def version() -> str:
    """The version: it stands in the package and nowhere else."""
    text = (ROOT / "src" / "rfaconv" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("src/rfaconv/__init__.py has no __version__")
    return found[1]


def python_part(tools: Path, work: Path, out: Path, repository: str | None) -> tuple[Path, Path]:
    """Builds the sdist, and from it the wheel without libraries; returns the sdist's content and
    that wheel.
    """
    tree = work / "source"
    shutil.rmtree(tree, ignore_errors=True)
    source.export(ROOT, tree, repository, version())
    build = [tools / "python", "-m", "build", "--no-isolation"]
    subprocess.run([*build, "--sdist", "--outdir", out, tree], check=True)
    (sdist,) = out.glob("*.tar.gz")
    unpacked, pure = work / "sdist", work / "pure"
    for folder in (unpacked, pure):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.unpack_archive(sdist, unpacked, filter="data")
    (content,) = unpacked.iterdir()
    without = ["--wheel", "--config-setting=wheel.cmake=false", "--outdir", pure]
    subprocess.run([*build, *without, content], check=True)
    (wheel,) = pure.glob("*.whl")
    return content, wheel


def compile_libraries(tools: Path, content: Path, work: Path, platform: Platform) -> Path:
    """Builds the libraries of a platform; returns CMake's folder, in which ``product`` has them."""
    missing = [program for program in platform.needs if shutil.which(program) is None]
    if missing:
        raise SystemExit(f"{platform.name}: not installed: {', '.join(missing)}")
    build = work / f"build-{platform.name}"
    product = build / "product"
    # All anew: the files of an sdist have one date, so nothing would tell which have changed.
    shutil.rmtree(build, ignore_errors=True)
    configure = [tools / "cmake", "-S", content / "csrc", "-B", build, "-G", "Ninja",
                 f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", "-DCMAKE_BUILD_TYPE=Release",
                 "-DRFACONV_TESTS=ON", "-DRFACONV_LIBRARY_TEST=ON",
                 f"-DRFACONV_OUTPUT_DIR={product}"]  # fmt: skip
    if platform.toolchain is not None:
        configure.append(f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'toolchains' / platform.toolchain}")
    if platform.name.startswith("macos"):
        zig = "import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))"
        found = subprocess.run([tools / "python", "-c", zig], check=True, text=True,
                               capture_output=True)  # fmt: skip
        configure.append(f"-DRFACONV_ZIG={found.stdout.strip()}")
    subprocess.run(configure, check=True)
    targets = ["-t", "rfaconv_cpu", "rfaconv_onnxruntime"]
    subprocess.run([tools / "cmake", "--build", build, *targets], check=True)
    for leftover in product.iterdir():  # import libraries of the linker
        if leftover.suffix not in (".so", ".dll", ".json"):
            leftover.unlink()
    return build


def main() -> None:
    """All of it."""
    args = arguments()
    work, out = args.work.resolve(), args.out.resolve()
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("*.whl"), *out.glob("*.tar.gz")]:
        old.unlink()
    tools = environment(work)
    content, pure = python_part(tools, work, out, args.repository)
    for platform in PLATFORMS:
        if args.platform and platform.name not in args.platform:
            continue
        build = compile_libraries(tools, content, work, platform)
        wheel = pack(tools, pure, build / "product", platform, work, out)
        check.check_wheel(tools, wheel, platform, work)
        proofs = execute.run_library_test(tools, build, platform)
        if platform.name == "linux-x86_64" and args.python:
            proofs |= execute.run_native(wheel, work, args.python, platform.isas)
        if platform.name == "linux-aarch64" and args.arm_root:
            proofs |= execute.run_under_qemu(wheel, work, args.arm_root.resolve())
        if args.tests:
            proofs |= execute.run_kernel_tests(tools, build, platform, args.rounds)
        if args.record:
            record(args.record, build, platform, wheel, proofs)
    files = sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])
    check.check_files(tools, files)
    for path in files:
        print(f"{path.stat().st_size / 2**20:6.2f} MiB  {path.name}")


if __name__ == "__main__":
    sys.exit(main())
