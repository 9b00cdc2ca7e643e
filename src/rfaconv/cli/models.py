"""``rfaconv models``: the networks that timm can create with an operator in them."""

from __future__ import annotations

from typing import Annotated

import typer


def models(
    pattern: Annotated[str, typer.Argument(help="Shell pattern, such as 'rfa*'.")] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks for timm.create_model(NAME)."""
    import fnmatch

    from rfaconv.errors import unknown_name
    from rfaconv.files import strict_json
    from rfaconv.models import MODEL_NAMES

    names = [name for name in MODEL_NAMES if fnmatch.fnmatch(name, pattern)]
    if not names:
        raise unknown_name("pattern", pattern, MODEL_NAMES)
    if as_json:
        typer.echo(strict_json(names), nl=False)
        return
    for name in names:
        typer.echo(name)
