"""From the names that people write to those that are known here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from rfaconv.errors import InvalidArgument
from rfaconv.variants import OPERATORS, RECEPTIVE_FIELD_OPERATORS

LAYER_NAMES = {
    "rfa": "RFAConv",
    "rfcbam": "RFCBAMConv",
    "rfca": "RFCAConv",
    "cam": "CAMConv",
    "cbam": "CBAMConv",
    "ca": "CAConv",
}
"""The name of every operator in a model YAML."""

FEATURES = "FeaturesConv"
"""The receptive-field features without a gate, for comparisons."""

BLOCK_NAMES = ("C3", "C2f", "C3k2", "C2", "Bottleneck")
"""Blocks of bottlenecks; ``--at blocks`` means the first three."""

HEAD_NAMES = ("Detect", "Segment", "Pose", "OBB", "Segment26", "Pose26", "OBB26", "v10Detect")
"""Heads with convolution towers."""

MODULE_NAMES = (
    *LAYER_NAMES.values(),
    *(f"{n}_{op.upper()}" for op in OPERATORS for n in (*BLOCK_NAMES, *HEAD_NAMES)),
)
"""Everything that a model YAML may name, by its own name."""

_OPERATOR = "|".join(sorted((name.upper() for name in OPERATORS), key=len, reverse=True))
_ENDING = re.compile(rf"({_OPERATOR})(?:_?Conv(?:2d)?)?")
_IN_NAME = re.compile(rf"({_OPERATOR})(?=_?CONV|_|$|2D|\d)|^({_OPERATOR})", re.IGNORECASE)


def canonical(name: str) -> str | None:
    """The name in :data:`MODULE_NAMES` that a row means, or None.

    ``C2f_RFAConv``, ``C2f_RFA`` and ``C2f_RFAConv2d`` are one block; ``RFAConv``, ``RFAConv2d`` and
    ``RFA`` are one layer. ``CBAM``, ``CAM`` and ``CA`` alone are not taken: in other people's YAMLs
    they are attention without a convolution.

    Example:
        >>> canonical("C3k2_RFCBAMConv"), canonical("RFAConv2d")
        ('C3k2_RFCBAM', 'RFAConv')
    """
    if name == FEATURES:
        return name
    owner, separator, ending = name.rpartition("_")
    if ending.startswith("Conv") and "_" in owner:  # C2f_RFA_Conv
        owner, separator, ending = *owner.rpartition("_")[:2], f"{owner.rpartition('_')[2]}_Conv"
    match = _ENDING.fullmatch(ending if owner in (*BLOCK_NAMES, *HEAD_NAMES) else name)
    if match is None:
        return None
    operator = match[1].lower()
    if separator and owner in (*BLOCK_NAMES, *HEAD_NAMES):
        found = f"{owner}_{operator.upper()}"
        return found if found in MODULE_NAMES else None
    alone = match[0] == match[1]
    if alone and operator not in RECEPTIVE_FIELD_OPERATORS:
        return None
    return LAYER_NAMES[operator]


def suggestions(name: str, known: Iterable[str]) -> list[str]:
    """Known names near to one that is not, the likeliest first, at most three.

    Spelling that differs in case and separators alone comes first, then what the parts of the name
    say (an operator, a block), then likeness.

    Example:
        >>> suggestions("RFA_C2f", ["Conv", "C2f"])[0]
        'C2f_RFA'
    """
    names = [*MODULE_NAMES, *known]
    same = [n for n in names if _plain(n) and _plain(n) == _plain(name)]
    parts = _from_parts(name)
    likeness = {n: difflib.SequenceMatcher(None, _plain(name), _plain(n)).ratio() for n in names}
    near = sorted((n for n in names if likeness[n] >= 0.8), key=lambda n: -likeness[n])
    return list(dict.fromkeys([*same, *parts, *near]))[:3]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]|conv(2d)?$", "", name.lower())


def _from_parts(name: str) -> list[str]:
    match = _IN_NAME.search(name)
    if match is None:
        return []
    operator = (match[1] or match[2]).lower()
    rest = (name[: match.start()] + "_" + name[match.end() :]).lower()
    rest = re.sub(r"conv(2d|1d|3d)?|_", "", rest)
    owners = (*BLOCK_NAMES, *HEAD_NAMES)
    if not rest:
        return [LAYER_NAMES[operator]]
    likeness = {o: difflib.SequenceMatcher(None, rest, o.lower()).ratio() for o in owners}
    near = sorted((o for o in owners if likeness[o] >= 0.75), key=lambda o: -likeness[o])
    if not near:
        return [LAYER_NAMES[operator], f"C2f_{operator.upper()}"]
    return [f"{owner}_{operator.upper()}" for owner in near[:2]]


def unknown_module(where: str, name: str, known: Iterable[str]) -> InvalidArgument:
    """The error for a row that names no module."""
    near = suggestions(name, known)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    operators = ", ".join(LAYER_NAMES.values())
    expected = (
        f"a module of ultralytics, one of {operators}, or a block or head with one of them, "
        f"such as C2f_RFA or Detect_RFA{hint}"
    )
    return InvalidArgument(where, expected, repr(name))


def original_name(name: str) -> str:
    """The module of ultralytics whose place and arguments one of :data:`MODULE_NAMES` has.

    Example:
        >>> original_name("C2f_RFA"), original_name("RFAConv")
        ('C2f', 'Conv')
    """
    return "Conv" if is_layer(name) else name.rpartition("_")[0]


def is_layer(name: str) -> bool:
    """Whether a name is a layer, not a block or a head."""
    return name == FEATURES or name in LAYER_NAMES.values()


def operator_of(name: str) -> str:
    """The operator of one of :data:`MODULE_NAMES`.

    Example:
        >>> operator_of("C2f_RFA"), operator_of("RFCAConv")
        ('rfa', 'rfca')
    """
    return name.removesuffix("Conv").rpartition("_")[2].lower()
