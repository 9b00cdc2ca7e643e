"""``rfaconv yolo``: ultralytics' own command with the operators registered."""

from __future__ import annotations

from typing import Annotated

import typer


def yolo(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="As of the command yolo, such as: detect train model=yolov8n-rfa.yaml"),
    ] = None,
) -> None:
    """Run ultralytics' command yolo with the operators known (ultralytics is AGPL-3.0).

    model=NETWORK-OPERATOR.yaml names a network with an operator at the paper's positions:
    yolov5n, yolov5s, yolov7-tiny, yolov8n, yolo11n or yolo26n with rfa, rfcbam, rfca, cam, cbam or
    ca. ``rfaconv yolo yaml NETWORK OPERATOR`` writes such a file for the plain command yolo.
    """
    from rfaconv.errors import InvalidArgument
    from rfaconv.integrations import register

    words = words or []
    register("ultralytics")
    if words[:1] == ["yaml"]:
        from rfaconv.integrations.ultralytics import write_model_yaml

        if len(words) != 3:
            expected = "yaml NETWORK OPERATOR, such as: yaml yolov8n rfa"
            raise InvalidArgument("words", expected, " ".join(words))
        typer.echo(write_model_yaml(words[1], words[2], standalone=True))
        return
    from ultralytics.cfg import entrypoint

    entrypoint(" ".join(words))
