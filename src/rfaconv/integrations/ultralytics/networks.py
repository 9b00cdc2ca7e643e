"""Names of networks with an operator in them: ``yolov8n-rfa``, ``yolo11n-seg-rfcbam-blocks``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.variants import OPERATORS

POSITIONS = ("down", "blocks", "head")
"""Where an operator goes: the down-samplings, the bottlenecks of C3, C2f and C3k2, the towers of
the head."""

_FAMILY = re.compile(r"(yolo|rtdetr)", re.IGNORECASE)
_BLOCKS = ("c3", "c2f", "c3k2")
_VERSION = re.compile(r"yolov?(\d+)([nslmxtceb]?)(u?)", re.IGNORECASE)
_WITHOUT_V = (11, 12, 26)


@dataclass(frozen=True)
class Named:
    """What the name of a network with an operator says.

    Attributes:
        network: as ultralytics calls it, its task included.
        operator: of :data:`rfaconv.variants.OPERATORS`.
        at: positions.
    """

    network: str
    operator: str
    at: tuple[str, ...] = ("down",)

    def __str__(self) -> str:
        return file_stem(self.network, self.operator, self.at)


def file_stem(network: str, operator: str | None, at: tuple[str, ...]) -> str:
    """The name of a configuration, which :func:`parse_network` reads back."""
    where = () if at == ("down",) else ("all",) if at == POSITIONS else at
    return "-".join([network, *([operator, *where] if operator else [])])


def parse_network(stem: str) -> Named | None:
    """Reads a name in any order of task, operator and position, or None.

    Example:
        >>> parse_network("yolo11n-rfa-seg")
        Named(network='yolo11n-seg', operator='rfa', at=('down',))
        >>> str(parse_network("yolov11n-C3k2_RFAConv"))
        'yolo11n-rfa-blocks'
    """
    if not _FAMILY.match(stem):
        return None
    rest, operators, at = [], [], []
    for word in re.split(r"[-_]", stem)[1:]:
        operator = re.sub(r"conv(2d)?$", "", word.lower())
        if operator in OPERATORS:
            operators.append(operator)
        elif word.lower() in (*POSITIONS, "all"):
            at.append(word.lower())
        elif word.lower() in _BLOCKS:
            at.append("blocks")
        elif operator:  # "" is the Conv of RFA_Conv
            rest.append(word)
    if len(operators) != 1:
        return None
    network = "-".join([network_name(re.split(r"[-_]", stem)[0]), *rest])
    return Named(network, operators[0], parse_positions(",".join(at) or "down"))


def network_name(network: str) -> str:
    """The name that ultralytics ships: ``yolov11n`` is ``yolo11n``, ``yolov5nu`` is ``yolov5n``.

    Example:
        >>> network_name("yolov11n-seg"), network_name("yolo8s"), network_name("yolov5nu")
        ('yolo11n-seg', 'yolov8s', 'yolov5n')
    """
    word, separator, rest = network.partition("-")
    match = _VERSION.fullmatch(word)
    if match is None:
        return network
    version = int(match[1])
    prefix = "yolo" if version in _WITHOUT_V else "yolov"
    return f"{prefix}{version}{match[2].lower()}{separator}{rest}"


def parse_positions(at: str | tuple[str, ...]) -> tuple[str, ...]:
    """Positions in their own order: ``all``, one of :data:`POSITIONS`, or several with commas.

    Raises:
        InvalidArgument: another word.

    Example:
        >>> parse_positions("all"), parse_positions("head,down")
        (('down', 'blocks', 'head'), ('down', 'head'))
    """
    words = at.split(",") if isinstance(at, str) else list(at)
    if not words:
        raise InvalidArgument("at", f"one of {', '.join(POSITIONS)}, all", repr(at))
    for word in words:
        if word not in (*POSITIONS, "all"):
            raise unknown_name("at", word, (*POSITIONS, "all"))
    return POSITIONS if "all" in words else tuple(p for p in POSITIONS if p in words)
