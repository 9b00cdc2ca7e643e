"""``rfaconv doctor``: what is installed, which devices there are, what computes here."""

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
    """Show versions, devices and backends, and try the layers.

    Of a backend that is not available, why. Exits with 1 if a layer or a case of the self-test
    fails.
    """
    from rfaconv.cli._doctor_report import collect
    from rfaconv.cli._doctor_show import show
    from rfaconv.files import strict_json

    report = collect(selftest)
    if as_json:
        typer.echo(strict_json(report), nl=False)
    else:
        show(report)
    failed = [row for row in report["layers"] if row["inference"] or row["training"]]
    if failed or any(row["passed"] is False for row in report["selftest"]):
        raise typer.Exit(1)
