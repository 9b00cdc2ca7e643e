"""``rfaconv export``: a network as a file for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rfaconv.cli._options import Pretrained, plain_console


def export(
    model: Annotated[
        str,
        typer.Argument(help="A run of rfaconv train, a .safetensors, or a network of timm."),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="onnx, openvino, torch-export, aoti, torchscript; "
            "of fixed size executorch, litert, ncnn, coreml."
        ),
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file; NAME.onnx and so on.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of a side; the network's own.")] = None,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Batch, height and width fixed, not free.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Pictures in a batch, with --fixed.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise; needs --calibration.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures like those it will see.")
    ] = None,
    opset: Annotated[int, typer.Option(help="Of ONNX, 18 to 23.")] = 18,
    exporter: Annotated[str, typer.Option(help="Of ONNX: dynamo or legacy.")] = "dynamo",
    external_data: Annotated[
        bool, typer.Option("--external-data", help="ONNX weights in a file beside.")
    ] = False,
    pretrained: Pretrained = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Run the file and compare it with PyTorch.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Of the runtime, with --check.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Write a network for another runtime: ONNX and others.

    Norms are folded and only standard operations used; batch and size stay open.
    """
    from rfaconv.errors import InvalidArgument, unknown_name
    from rfaconv.export import export as write
    from rfaconv.export.targets import TARGETS
    from rfaconv.files import strict_json
    from rfaconv.lab import calibration_pictures, load_source

    if to not in TARGETS:
        raise unknown_name("to", to, TARGETS)
    if int8 != (calibration is not None):
        got = "int8 without a folder" if int8 else "a folder without int8"
        raise InvalidArgument("calibration", "a folder of pictures with --int8", got)
    if size is not None and size < 1:
        raise InvalidArgument("size", "1 or more", size)
    fixed = fixed or TARGETS[to].fixed
    if check and to == "coreml":
        raise InvalidArgument(
            "check", "a target whose runtime is here", "coreml: only macOS has it"
        )
    console = plain_console()
    with console.status("exporting"):
        source = load_source(
            model, size=None if size is None else (size, size), pretrained=pretrained
        )
        path = out or Path(f"{source.name}{TARGETS[to].suffix}")
        pictures = [] if calibration is None else calibration_pictures(calibration, source)
        kind = "int8" if int8 else dtype
        made = write(
            source, path, to, dtype=kind, dynamic=not fixed, batch=batch if fixed else 2,
            force=force, opset=opset, exporter=exporter,
            external_data=True if external_data else None, calibration=pictures,
        )  # fmt: skip
    report: dict[str, Any] = {
        "file": str(made.path),
        "files": [str(file) for file in made.files],
        "bytes": made.bytes,
        "target": to,
        "metadata": made.metadata,
    }
    if check:
        report["check"] = _check(console, made.path, source, kind, batch if fixed else 0, threads)
    if as_json:
        typer.echo(strict_json(report), nl=False)
    console.print(f"{made.path}: {made.bytes / 1e6:.1f} MB, {kind}")
    if check and not report["check"]["passed"]:
        console.print(f"the file differs from PyTorch: {made.path}.check.json", style="red")
        raise typer.Exit(1)


def _check(
    console: Any, path: Path, source: Any, kind: str, batch: int, threads: int | None
) -> dict[str, Any]:
    """Compares, and prints a table."""
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

    from rfaconv.export import check

    high, wide = source.sample_size
    # the size of the export, an odd one, and an oblong one
    more = (0, 0), (13, 7), (0, 32)
    steps = source.multiple
    sizes = [
        (high + a + -a % steps, wide + b + -b % steps) for a, b in (more[:1] if batch else more)
    ]
    parts = (4, len(source.classes)) if source.choice else ()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking", total=None)
        report = check(
            path, source.network, sizes=sizes, batches=(batch,) if batch else (1, 2, 5),
            channels=source.channels, dtype=kind, threads=threads, parts=parts,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    table = Table("batch", "size", "error", "error of float32", "ms", "PyTorch ms", "")
    for case in report["cases"]:
        name = [str(case["batch"]), "x".join(map(str, case["size"]))]
        if "refused" in case:
            table.add_row(*name, case["refused"][:60], style="red")
            continue
        numbers = [f"{case['error']:.1e}", f"{case['torch_error']:.1e}"]
        times = [f"{case['ms']:.1f}", f"{case['torch_ms']:.1f}"]
        table.add_row(
            *name, *numbers, *times, "equal" if case["passed"] else Text("differs", "red")
        )
    console.print(table)
    return report
