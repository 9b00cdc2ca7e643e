"""``rfaconv doctor``: what is installed, which devices there are, which backends run."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    selftest: Annotated[
        bool,
        typer.Option("--selftest", help="Compute small cases with every backend and check them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, devices, and each backend: available, or why not."""
    from rfaconv.cli._doctor_report import collect, show
    from rfaconv.files import strict_json

    report = collect(selftest)
    if as_json:
        typer.echo(strict_json(report), nl=False)
    else:
        show(report)
    if any(row["passed"] is False for row in report["selftest"]):
        raise typer.Exit(1)
