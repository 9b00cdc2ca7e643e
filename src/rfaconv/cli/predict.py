"""``rfaconv predict``: what a trained network sees in images, folders and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rfaconv.cli._options import Pretrained, Threshold, plain_console


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A run, a folder of a network, a .safetensors, a .pt of ultralytics, "
            "an exported file or, with --pretrained, a network of timm."
        ),
    ],
    sources: Annotated[list[Path], typer.Argument(help="Pictures, folders, videos.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the drawn pictures and predictions.json.")
    ] = Path("predictions"),
    threshold: Threshold = 0.25,
    every: Annotated[int, typer.Option(help="Of a video, one frame in so many.")] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="A damaged file is an error, not skipped.")
    ] = False,
    pretrained: Pretrained = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print predictions.json too.")] = False,
) -> None:
    """Draw classes, boxes or masks on images, and write them as JSON.

    A .pt file of ultralytics runs code when it is loaded: only open files that you trust.
    """
    import io

    from rich.progress import track
    from torchvision.transforms.functional import to_pil_image

    from rfaconv.errors import InvalidArgument, RFAConvError
    from rfaconv.files import free_name, make_folder, strict_json, write_atomic
    from rfaconv.lab.predict import frames
    from rfaconv.lab.predict.sources import RESULTS, check_apart, expand, names_in
    from rfaconv.lab.predictors import open_predictor

    files = expand(sources)
    check_apart(out, files)
    if every < 1:
        raise InvalidArgument("every", "1 or more", every)
    taken, again = names_in(out), (out / RESULTS).exists()
    predictor = open_predictor(model, threshold=threshold, pretrained=pretrained)
    make_folder(out)
    console = plain_console()
    if again:
        console.print(f"the predictions that {out} had are replaced")
    entries, skipped = [], []
    # frames come after all pictures, whose names they may have
    names = {file: free_name(file.stem, taken) for file in files}
    for file in track(files, "predicting", console=console, disable=not console.is_terminal):
        try:
            for number, image in frames(file, every):
                finding = predictor.find(image)
                name = names[file]
                if number is not None:
                    name = free_name(f"{name}-{number:06d}", taken)
                drawn = out / f"{name}.png"
                buffer = io.BytesIO()
                to_pil_image(finding.draw(image)).save(buffer, "PNG")
                write_atomic(drawn, buffer.getvalue())
                entry = {"source": str(file), "frame": number, "drawn": drawn.name}
                size = [image.shape[2], image.shape[1]]
                entries.append({**entry, "size": size, **finding.to_json()})
        except RFAConvError as error:
            if strict:
                raise
            named = str(file) in str(error)
            skipped.append(str(error) if named else f"{file}: {error}")
    content = {"task": predictor.task, "classes": list(predictor.names), "pictures": entries}
    text = strict_json({**content, "skipped": skipped})
    write_atomic(out / RESULTS, text)
    if as_json:
        typer.echo(text, nl=False)
    for line in skipped:
        console.print(f"skipped {line}", style="yellow")
    console.print(
        f"{len(entries)} pictures, {len(skipped)} files skipped: {out / RESULTS}",
    )
