"""From what is typed to what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfaconv.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import Console

TYPER: Any = {
    "add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}  # fmt: skip
"""Of every application of commands."""

Threshold = Annotated[float, typer.Option(help="Least score of a box, in [0, 1].")]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="timm may fetch weights of a named network.")
]
LookedInto = Annotated[
    str,
    typer.Argument(
        help="A run, a folder of a network, a .safetensors, a .pt of ultralytics or, with "
        "--pretrained, a network of timm."
    ),
]


def plain_console(stderr: bool = True) -> Console:
    """A terminal on which text is shown as it is."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False)


def parse_seeds(text: str) -> tuple[int, ...]:
    """``3`` is the three seeds 0, 1, 2; ``0,7`` is those two; ``7,`` is seed 7 alone.

    Raises:
        InvalidArgument: anything else.

    Example:
        >>> parse_seeds("3"), parse_seeds("4,7"), parse_seeds("7,")
        ((0, 1, 2), (4, 7), (7,))
    """
    expected = "a count such as 3, or seeds such as 0,7,9"
    words = [word.strip() for word in text.split(",")]
    try:
        numbers = tuple(int(word) for word in words if word)
    except ValueError as error:
        raise InvalidArgument("seeds", expected, repr(text)) from error
    if not numbers or any(number < 0 for number in numbers):
        raise InvalidArgument("seeds", expected, repr(text))
    if len(set(numbers)) < len(numbers):
        raise InvalidArgument("seeds", "each seed once", text)
    if len(words) > 1:
        return numbers
    if not 1 <= numbers[0] <= 1000:
        raise InvalidArgument("seeds", "a count from 1 to 1000, or seeds such as 0,7,9", repr(text))
    return tuple(range(numbers[0]))


def parse_names(text: str, argument: str) -> tuple[str, ...]:
    """Names separated by commas.

    Raises:
        InvalidArgument: there is none.

    Example:
        >>> parse_names("conv, rfa", "operators")
        ('conv', 'rfa')
    """
    names = tuple(word.strip() for word in text.split(",") if word.strip())
    if not names:
        raise InvalidArgument(argument, "one name or several, separated by commas", repr(text))
    return names
