"""The command ``rfaconv``: finds the subcommands and turns errors into one line and an exit code.

Exit codes: 0 done; 1 failed while running (or ``doctor`` found something broken); 2 bad input;
130 interrupted; 143 terminated.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfaconv.errors import RFAConvError

if TYPE_CHECKING:
    import typer

COMMANDS = (
    "bench", "compare", "doctor", "eval", "explain", "export", "inspect", "models", "predict",
    "summary", "train", "weights", "yolo",
)  # fmt: skip
"""Each is a function of the same name in ``rfaconv.cli.<name>``, light to import."""

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
STOPPED = "interrupted; the same command goes on where it stopped"

EXTRAS = {
    "fastapi": "serve", "httpx": "serve", "matplotlib": "plot", "nncf": "export", "onnx": "export",
    "onnxruntime": "export", "onnxscript": "export", "openvino": "export", "pycocotools": "detect",
    "pytorch_grad_cam": "explain", "ttach": "explain",
    "segmentation_models_pytorch": "segment", "ultralytics": "detect", "uvicorn": "serve",
}  # fmt: skip
"""Which extra brings a package; the extra ``train`` brings the others."""

ALONE = {
    "ai_edge_litert": "ai-edge-litert", "coremltools": "coremltools", "executorch": "executorch",
    "litert_torch": "litert-torch", "ncnn": "ncnn", "pnnx": "pnnx",
}  # fmt: skip
"""Packages of one target of ``export`` that no extra brings: they do not go together."""

EPILOG = "Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted (start it again to go on)."


def build() -> typer.Typer:
    """The Typer application with every command of ``COMMANDS`` that is installed."""
    import typer

    from rfaconv.cli._options import TYPER

    app = typer.Typer(
        name="rfaconv",
        help="Receptive-field attention convolutions: train, compare, look, deploy.",
        epilog=EPILOG,
        no_args_is_help=True,
        **TYPER,
    )

    @app.callback(invoke_without_command=True)
    def options(
        version: bool = typer.Option(False, "--version", help="Print the version and leave."),
    ) -> None:
        if version:
            import rfaconv

            typer.echo(f"rfaconv {rfaconv.__version__}")
            raise typer.Exit

    for name in COMMANDS:
        module = importlib.import_module(f"rfaconv.cli.{name}")
        context = getattr(module, "CONTEXT", None)
        app.command(name, epilog=EPILOG, context_settings=context)(getattr(module, name))
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; errors are one line on stderr.

    Args:
        arguments: the words after ``rfaconv``; None for those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        # into a file or a pipe Windows writes what one old code page has
        if isinstance(stream, io.TextIOWrapper):
            encoding = None if stream.isatty() else "utf-8"
            # names of files that are not UTF-8 are shown by their bytes
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    try:
        app = build()
    except ModuleNotFoundError as error:
        return _fail(_missing(error), BAD_INPUT)
    try:
        result = app(args=arguments, standalone_mode=False)
    except RFAConvError as error:
        return _fail(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        result = INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "rfaconv":
            raise
        return _fail(_missing(error), BAD_INPUT)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", FAILED)
    except Exception as error:
        return _usage(error)
    if result == INTERRUPTED:  # typer answers Ctrl-C by this code, without a word
        return _fail(STOPPED, INTERRUPTED)
    return result if isinstance(result, int) else 0


def _usage(error: Any) -> int:
    """Typer's own errors know their text and exit code; anything else is a bug and shows as one."""
    if type(error).__name__ == "Abort":
        return _fail(STOPPED, INTERRUPTED)
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return BAD_INPUT
    return _fail(str(error.format_message()), int(error.exit_code))


def _missing(error: ModuleNotFoundError) -> str:
    name = (error.name or "?").partition(".")[0]
    if name in ALONE:
        return f"this command needs {name}, which is not installed: pip install {ALONE[name]}"
    extra = EXTRAS.get(name, "train")
    return f"this command needs {name}, which is not installed: pip install 'rfaconv[{extra}]'"


def _fail(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
