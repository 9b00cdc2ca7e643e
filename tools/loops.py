#!/usr/bin/env python3
"""Counts the instructions of innermost loops in a compiled kernel file.

    python3 tools/loops.py kernels_neon.cpp.o gemm_fixed --objdump aarch64-linux-gnu-objdump

For each innermost loop (a branch back with no other between) of the functions whose name contains
the given text: instructions, and of these multiply-adds, loads and stores. It is the only measure
of speed where the processor itself is not at hand.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator

FUSED = re.compile(r"^(v?fn?m(add|sub)\w*|fml[as])$")
LOAD = re.compile(r"^(ld\w+)$")
STORE = re.compile(r"^(st\w+)$")


def functions(listing: str) -> Iterator[tuple[str, list[tuple[int, str, str]]]]:
    """Name and instructions (address, mnemonic, operands) of every function of a disassembly."""
    name, body = "", []
    for line in listing.splitlines():
        if head := re.match(r"^[0-9a-f]+ <(.+)>:$", line):
            if body:
                yield name, body
            name, body = head[1], []
        elif found := re.match(r"^\s+([0-9a-f]+):\s+(\S+)\s*(.*)$", line):
            body.append((int(found[1], 16), found[2], found[3]))
    if body:
        yield name, body


def innermost(body: list[tuple[int, str, str]]) -> list[list[tuple[int, str, str]]]:
    """The loops of a function that hold no other loop."""
    places = {address: i for i, (address, _, _) in enumerate(body)}
    spans = []
    for i, (address, mnemonic, operands) in enumerate(body):
        if not re.match(r"^(b\.|cbn?z|tbn?z|b$|j)", mnemonic):
            continue
        target = re.search(r"\b([0-9a-f]+) <", operands)
        if target and int(target[1], 16) <= address and int(target[1], 16) in places:
            spans.append((places[int(target[1], 16)], i))
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [body[a : b + 1] for a, b in inner]


def reads(mnemonic: str, operands: str) -> bool:
    """Whether an instruction reads memory: x86 has operands in memory."""
    if "(" in operands:
        return not operands.rstrip().endswith(")") and not mnemonic.startswith("lea")
    return LOAD.match(mnemonic) is not None


def main() -> None:
    """Prints one line for every loop with multiply-adds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("name", help="part of the function's name")
    parser.add_argument("--objdump", default="objdump")
    args = parser.parse_args()
    command = [args.objdump, "-d", "-C", "--no-show-raw-insn", args.file]
    listing = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    print("instructions  fused  loads  function")
    for name, body in functions(listing):
        if args.name not in name:
            continue
        for loop in innermost(body):
            fused = sum(FUSED.match(m) is not None for _, m, _ in loop)
            loads = sum(reads(m, o) for _, m, o in loop)
            if fused:
                print(f"{len(loop):12d} {fused:6d} {loads:6d}  {name[:90]}")


if __name__ == "__main__":
    main()
