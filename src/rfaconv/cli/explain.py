"""``rfaconv explain``: where a network looks, and why it says what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfaconv.cli._options import LookedInto, Pretrained, Threshold, plain_console


def explain(
    model: LookedInto,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Pictures or folders of them; or a data set, for its truth: a folder, "
            "eurosat-sample, digits."
        ),
    ],
    plain: Annotated[
        str | None, typer.Option(help="A network to compare with, such as the plain one.")
    ] = None,
    layers: Annotated[
        str, typer.Option(help="Operators whose gates to show, with commas. [default: first, last]")
    ] = "",
    methods: Annotated[
        str, typer.Option(help="gradcam, gradcam++, layercam, hirescam, eigencam, with commas.")
    ] = "gradcam",
    target: Annotated[
        str | None, typer.Option(help="Class to explain. [default: the one that is found]")
    ] = None,
    count: Annotated[int, typer.Option(help="Images of a data set, spread over it.")] = 6,
    threshold: Threshold = 0.25,
    pretrained: Pretrained = False,
    out: Annotated[Path, typer.Option(help="Folder of the page and the pictures.")] = Path(
        "explanations"
    ),
) -> None:
    """Show where a network looks: Grad-CAM and gates over images.

    With prediction and truth, as PNG and one HTML page.

    A .pt file of ultralytics runs code when it is loaded: only open files that you trust.
    """
    from rich.progress import track

    from rfaconv.cli._options import parse_names
    from rfaconv.errors import InvalidArgument, RFAConvError
    from rfaconv.files import as_text, free_name, make_folder, strict_json, write_atomic
    from rfaconv.lab.explain.figures import figure_of, png_of
    from rfaconv.lab.explain.given import given_images
    from rfaconv.lab.explain.images import Explained, chosen_layers, explain_image
    from rfaconv.lab.explain.page import page_of
    from rfaconv.lab.explain.views import open_view
    from rfaconv.lab.predict.sources import check_apart, names_in

    if count < 1:
        raise InvalidArgument("count", "1 or more", count)
    if not 0 <= threshold <= 1:
        raise InvalidArgument("threshold", "a number in [0, 1]", threshold)
    wanted = parse_names(layers, "layers") if layers else ()
    kinds = parse_names(methods, "methods")
    view = open_view(model, threshold=threshold, pretrained=pretrained)
    chosen_layers(view.network, wanted)
    beside = None if plain is None else open_view(plain, threshold=threshold, pretrained=pretrained)
    if beside is not None and beside.task != view.task:
        raise InvalidArgument("plain", f"a network to {view.task}", f"one to {beside.task}")
    given = given_images(images, view, count)
    check_apart(out, [item.file for item in given if item.file.is_file()])
    page, results = out / "index.html", out / "explanations.json"
    taken, again = names_in(out, results.name, "explain"), results.exists()
    if page.exists() and not again:
        raise InvalidArgument("out", "a folder without a page of something else", str(page))
    names = [free_name(item.name, taken) for item in given]
    console = plain_console()
    if again:
        console.print(f"the explanations that {out} had are replaced")
    made: list[tuple[str, Explained]] = []
    entries, skipped = [], []
    work = list(zip(given, names, strict=True))
    for item, name in track(work, "explaining", console=console, disable=not console.is_terminal):
        try:
            image, truth = item.read()
            explained = explain_image(
                view, image, truth=truth, plain=beside, layers=wanted, methods=kinds, target=target
            )
        except InvalidArgument:
            raise
        except RFAConvError as error:
            named = str(item.file) in str(error)
            skipped.append(str(error) if named else f"{item.file}: {error}")
            continue
        make_folder(out)
        drawn = out / f"{name}.png"
        write_atomic(drawn, png_of(figure_of(explained.panels, title=item.name)))
        made.append((item.name, explained))
        entry = {"source": str(item.file), "drawn": drawn.name, "explained": explained.target}
        entries.append({**entry, "right": explained.right, **explained.found.to_json()})
    for line in skipped:
        console.print(f"skipped {line}", style="yellow")
    if not made:
        raise InvalidArgument("images", "one that can be decoded", f"{len(skipped)} that cannot")
    about = f"{model}" + (f", beside {plain}" if plain else "")
    content = {"task": view.task, "model": str(model), "plain": plain, "pictures": entries}
    # first: a page without it would be somebody else's the next time
    write_atomic(results, strict_json({**content, "skipped": skipped}))
    write_atomic(page, as_text(page_of(f"What {model} looks at", about, made, skipped)))
    console.print(f"{len(made)} images: {page}")
