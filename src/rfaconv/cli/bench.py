"""``rfaconv bench``: the operators against the convolution they replace, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfaconv.errors import InvalidArgument


def bench(
    suite: Annotated[
        list[str] | None,
        typer.Argument(help="resnet18, yolov8n, networks, or layer:C,O,H,k,s; several allowed."),
    ] = None,
    operators: Annotated[str, typer.Option(help="Of rfa, rfcbam, rfca; commas.")] = "rfa",
    sides: Annotated[
        str,
        typer.Option(
            help="Of conv, published, compiled, reference, fused, onnxruntime, openvino; commas."
        ),
    ] = "conv,published,reference,fused",
    mode: Annotated[str, typer.Option(help="inference, training or both.")] = "both",
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 8,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; torch's by default.")] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Per case, operator and mode.")] = 3.0,
    clock: Annotated[
        str, typer.Option(help="wall, or cpu: processor time, for one thread on a busy machine.")
    ] = "wall",
    channels_last: Annotated[bool, typer.Option(help="Input in channels_last memory.")] = False,
    dtype: Annotated[
        str, typer.Option(help="float32 or bfloat16, of input and parameters.")
    ] = "float32",
    memory: Annotated[bool, typer.Option(help="Measure saved bytes and peak memory.")] = True,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write all results as strict JSON.")
    ] = None,
    plot_path: Annotated[
        Path | None, typer.Option("--plot", help="Draw the ratios as a PNG (extra plot).")
    ] = None,
) -> None:
    """Time the operators against the convolution they replace.

    That is Conv2d + BatchNorm + ReLU. All sides are compared with the reference first.
    """
    import torch
    from rich.console import Console

    from rfaconv.bench import Settings, parse_suite, report, run
    from rfaconv.cli._options import parse_names

    names = ("inference", "training")
    modes = {**{name: (name,) for name in names}, "both": names}
    if mode not in modes:
        raise InvalidArgument("mode", "inference, training or both", repr(mode))
    cases = [case for text in suite or ["resnet18"] for case in parse_suite(text)]
    settings = Settings(
        operators=parse_names(operators, "operators"),
        sides=parse_names(sides, "sides"),
        modes=modes[mode],
        batch=batch,
        channels_last=channels_last,
        dtype=dtype,
        seconds=seconds,
        memory=memory,
        clock=clock,
    )
    if threads is not None:
        torch.set_num_threads(threads)
    console, notes = Console(), Console(stderr=True)
    with notes.status("") as status:
        results = run(cases, settings, status.update)
    console.print(report.table(results))
    if json_path is not None:
        report.write_json(results, json_path)
    if plot_path is not None:
        report.plot(results, plot_path)
    if any(row["status"] in ("refused", "error") for row in results["rows"]):
        raise typer.Exit(1)
