"""Exports YOLOs with every operator by ultralytics, runs the files, compares with PyTorch.

One file collects the results of several calls, so that the matrix may run in parts and in several
environments: some formats ask for packages that do not go together. What cannot be had is recorded
with the exporter's reason. The table of docs/detection.md is made from it by benchmarks/tables.py.

    python benchmarks/yolo_export.py --out benchmarks/results/yolo-export.json --formats onnx,mnn
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="rfaconv-yolo-"))

from testing.yolo_exports import FORMATS, NETWORKS, compare, missing

import rfaconv
from rfaconv.files import strict_json, write_atomic
from rfaconv.variants import OPERATORS


def measured(network: str, operator: str, kind: str, folder: Path) -> dict[str, object]:
    row: dict[str, object] = {"network": network, "operator": operator, "format": kind}
    start = time.perf_counter()
    try:
        if absent := missing(kind):
            raise ModuleNotFoundError(f"not installed: {absent}")
        largest, units = compare(network, operator, kind, folder)
        row.update(largest=largest, of_allowed=units, holds=units <= 1)
    except Exception as failure:  # every exporter has its own
        lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
        reason = f"{type(failure).__name__}: {lines[0] if lines else ''}"
        row.update(holds=False, reason=reason[:300])
    row["seconds"] = round(time.perf_counter() - start, 1)
    names = ("torch", "ultralytics", *FORMATS[kind])
    row["versions"] = {name: found for name in names if (found := installed(name))}
    return row


def installed(name: str) -> str | None:
    try:
        return version(name.replace("_", "-"))
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--operators", default=",".join(OPERATORS))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--work", type=Path, help="folder of the trained networks, kept")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing after so long")
    words = parser.parse_args()
    rfaconv.register("ultralytics")
    warnings.simplefilter("ignore")
    work = words.work or Path(tempfile.mkdtemp(prefix="rfaconv-export-"))
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    for network in words.networks.split(","):
        for operator in words.operators.split(","):
            for kind in words.formats.split(","):
                key = (network, operator, kind)
                rows = {}
                if words.out.exists():
                    content = json.loads(words.out.read_text(encoding="utf-8"))
                    rows = {(r["network"], r["operator"], r["format"]): r for r in content["rows"]}
                if rows.get(key, {}).get("holds"):
                    continue
                if time.perf_counter() - start > words.seconds:
                    sys.exit(75)  # more to do
                rows[key] = measured(*key, work)
                print(*key, {k: v for k, v in rows[key].items() if k not in key}, flush=True)
                ordered = [rows[k] for k in sorted(rows)]
                write_atomic(words.out, strict_json({"rows": ordered}))


if __name__ == "__main__":
    main()
