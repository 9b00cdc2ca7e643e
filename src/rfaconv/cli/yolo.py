"""``rfaconv yolo``: ultralytics' own command with the operators registered, and verbs of ours."""

from __future__ import annotations

import traceback

import typer

CONTEXT = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Every word goes to ultralytics as it is, those with dashes included."""

VERBS = ("convert", "data", "import", "yaml")
"""First words that ultralytics does not have."""

HELP = """\
rfaconv yolo has these verbs beside those of ultralytics (each with --help):
  data     VOC, COCO or mask folders to a data set for YOLO
  convert  a trained .pt to one with an operator in it
  import   a .pt of the published code or a fork to one for plain ultralytics
  yaml     a model YAML with an operator, to edit
model=NETWORK-OPERATOR.yaml names a network with an operator: yolov8n-rfa.yaml, yolo11n-seg-rfcbam,
rtdetr-l-rfca; -blocks, -head or -all behind it name other positions than the paper's.
"""


def yolo(
    context: typer.Context,
    words: list[str] = typer.Argument(  # noqa: B008  # typer's way
        None, help="As of the command yolo, such as: detect train model=yolov8n-rfa.yaml"
    ),
) -> None:
    """Run ultralytics' command yolo with the operators known.

    ultralytics is AGPL-3.0. Verbs of its own: data, convert, import, yaml.
    """
    words = list(words or [])
    if words and words[0] in VERBS:
        from rfaconv.cli._yolo_verbs import build

        build().main(words, prog_name="rfaconv yolo", standalone_mode=False)
        return
    from rfaconv.errors import RFAConvError
    from rfaconv.integrations.ultralytics import command

    if not words or words[0] in ("help", "-h", "-help", "--help"):
        typer.echo(HELP, err=True)
    try:
        command.run(words)
    except (RFAConvError, ModuleNotFoundError) as error:
        if isinstance(error, RFAConvError) or (error.name or "").startswith("ultralytics"):
            raise
        _as_yolo()
    except Exception:  # whatever ultralytics raises ends as it does there: reported, exit code 1
        _as_yolo()


def _as_yolo() -> None:
    """Ends as the command yolo ends with an error: its report and exit code 1."""
    traceback.print_exc()
    raise typer.Exit(1)
