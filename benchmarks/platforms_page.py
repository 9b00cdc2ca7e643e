"""Writes the tables of docs/platforms.md from the committed results.

python benchmarks/platforms_page.py
"""

from __future__ import annotations

from pages import fill, load, table

SETS = {
    "scalar": "scalar",
    "avx2": "AVX2",
    "avx512": "AVX-512",
    "avx512_bf16": "AVX512-BF16",
    "amx": "AMX",
    "neon": "NEON",
}
EMULATORS = {"qemu-aarch64": "emulated (QEMU)", "wine": "Wine", "": "this machine's processor"}
# name, OpenMP runtime, what nothing here could run
PLATFORMS = {
    "linux-x86_64": ("Linux x86-64", "libgomp of torch's wheel", ""),
    "linux-aarch64": ("Linux aarch64", "the same", "never run on a processor"),
    "windows-x86_64": (
        "Windows x86-64",
        "libiomp5md of torch's wheel",
        "no Python: binding to torch's runtime, and the library under torch, were never run",
    ),
    "macos-arm64": ("macOS arm64", "libomp of torch's wheel", "nothing was run"),
}


def proof(found: dict) -> str:
    """What was run of a platform's wheel."""
    if found["emulator"] is None:
        return f"compiled and linked by {found['compiler']}"
    parts = []
    for key, what in (("kernel_tests", "C++ tests"), ("library_tests", "tests of the library")):
        if key in found:
            parts.append(f"{found[key]['passed']} {what}")
            if found[key]["skipped"]:
                parts[-1] += f" ({found[key]['skipped']} skipped)"
    for run in found.get("selftests", ()):
        parts.append(f"self-test in Python and torch with {SETS[run['isa']]}: {run['cases']} cases")
    tested = {run["isa"] for run in found.get("selftests", ())}
    if tested and not tested.issuperset(found["kernels"]):
        rest = ", ".join(SETS[isa] for isa in found["kernels"] if isa not in tested)
        parts.append(f"{rest} not run, which the processor lacks")
    if "installation" in found:
        parts.append(f"installed in {found['installation']['median']} s, no compiler on the path")
    return f"{EMULATORS[found['emulator'] or '']}: {'; '.join(parts)}"


def wheels() -> list[str]:
    rows = []
    for name, (title, threads, limit) in PLATFORMS.items():
        found = load("wheels")[name]
        tag = found["wheel"].rpartition("-")[2].removesuffix(".whl")
        kernels = ", ".join(SETS[isa] for isa in found["kernels"])
        size = found.get("installation", found)["bytes"]
        proved = proof(found) + (f". {limit[0].upper()}{limit[1:]}" if limit else "")
        rows.append((title, f"`{tag}`", f"{size / 1e6:.1f}", kernels, threads, proved))
    return table(("platform", "wheel", "MB", "kernels", "threads", "how it was proved"), rows)


def extras() -> list[str]:
    """Megabytes of the packages that an extra brings beyond those that are always there."""
    found = load("extras")
    base = found["base"]
    gpu = {n: v for n, v in base.items() if n.startswith(("nvidia-", "cuda-")) or n == "triton"}
    whole = {
        "always: torch, typer, rich and theirs": {n: v for n, v in base.items() if n not in gpu},
        "always, with PyPI's torch for Linux: CUDA and Triton": gpu,
        **{f"`rfaconv[{name}]`": packages for name, packages in found["extras"].items()},
    }
    rows = []
    for title, packages in whole.items():
        largest = sorted(packages.items(), key=lambda item: -item[1])[:3]
        shown = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in largest)
        rows.append((title, len(packages), f"{sum(packages.values()) / 1e6:.0f}", shown))
    return table(("what", "packages", "MB", "the largest"), rows)


TABLES = {"wheels": wheels, "extras": extras}


if __name__ == "__main__":
    fill(["docs/platforms.md"], TABLES)
