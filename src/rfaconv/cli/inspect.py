"""``rfaconv inspect``: a page on which one clicks a pixel and sees the gates of its window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfaconv.cli._options import LookedInto, Pretrained, Threshold, plain_console


def inspect(
    model: LookedInto,
    image: Annotated[Path, typer.Argument(help="The picture.")],
    layers: Annotated[
        str, typer.Option(help="Operators by name, with commas. [default: four, spread]")
    ] = "",
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="A network to compare with, such as the same one with CBAM; may be repeated. "
            "[default: an untrained CBAM and CA on the same input]"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Class of the Grad-CAM. [default: the one that is found]")
    ] = None,
    threshold: Threshold = 0.25,
    pretrained: Pretrained = False,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("inspector.html"),
) -> None:
    """Write a page on which to click through an image's gates.

    One HTML file that needs no network: click a pixel to see its window's gates.

    A .pt file of ultralytics runs code when it is loaded: only open files that you trust.
    """
    from rfaconv.cli._options import parse_names
    from rfaconv.errors import InvalidArgument, unknown_name
    from rfaconv.files import as_text, write_atomic
    from rfaconv.lab.explain.views import open_view
    from rfaconv.lab.inspector import inspector_page
    from rfaconv.lab.predict import frames
    from rfaconv.lab.predict.sources import expand

    if image.is_dir():
        raise InvalidArgument("image", "one picture", f"{image}, a folder")
    if not out.parent.is_dir() or out.is_dir():
        raise InvalidArgument("out", "a file in a folder that exists", str(out))
    wanted = parse_names(layers, "layers") if layers else ()
    (file,) = expand([image])
    _, pixels = next(frames(file))
    view = open_view(model, threshold=threshold, pretrained=pretrained)
    if target is not None and target not in view.names:
        raise unknown_name("target", target, view.names)
    others = [(_name(word), open_view(word, threshold=threshold)) for word in beside or ()]
    page = inspector_page(
        view, pixels, title=f"{_name(model)}: {image.name}", layers=wanted, beside=others,
        target=target,
    )  # fmt: skip
    write_atomic(out, as_text(page))
    console = plain_console()
    console.print(f"{out}: {len(page.encode()) / 1e6:.1f} MB")


def _name(word: str) -> str:
    return Path(word).name or word
