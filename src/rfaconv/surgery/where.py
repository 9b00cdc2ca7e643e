"""Which convolutions of a network to replace.

A predicate takes a :class:`~rfaconv.surgery.sites.Site` and returns a bool. Those of this module
combine with ``&``, ``|`` and ``~``. A plain function of a site, or of name and module, serves too.

Example:
    >>> from rfaconv.surgery import where
    >>> first_stage = where.basic_block_conv1 & where.by_name("layer1.*")
    >>> first_stage
    basic_block_conv1 & by_name('layer1.*')
"""

from __future__ import annotations

import fnmatch
import inspect
import re
from collections.abc import Callable
from typing import Any

from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.surgery.sites import Convolution, Site

__all__ = [
    "Predicate",
    "as_predicate",
    "basic_block_conv1",
    "bottleneck_3x3",
    "by_name",
    "downsampling",
    "everything",
    "spatial",
]


class Predicate:
    """A named test of a site that combines with ``&``, ``|`` and ``~``.

    Args:
        test: function of a site.
        name: what reports call it.
    """

    def __init__(self, test: Callable[[Site], bool], name: str) -> None:
        self.test = test
        self.name = name

    def __call__(self, site: Site) -> bool:
        """Returns whether the convolution at ``site`` is meant."""
        return bool(self.test(site))

    def __and__(self, other: Callable[[Site], bool]) -> Predicate:
        return Predicate(lambda site: self(site) and bool(other(site)), f"{self} & {_name(other)}")

    def __or__(self, other: Callable[[Site], bool]) -> Predicate:
        return Predicate(lambda site: self(site) or bool(other(site)), f"({self} | {_name(other)})")

    def __invert__(self) -> Predicate:
        return Predicate(lambda site: not self(site), f"~{self}")

    def __repr__(self) -> str:
        return self.name


class NamePattern(Predicate):
    """Sites whose name matches a pattern; see :func:`by_name`."""

    def __init__(self, pattern: str | re.Pattern[str]) -> None:
        self.pattern = pattern if isinstance(pattern, str) else pattern.pattern
        compiled = re.compile(fnmatch.translate(pattern)) if isinstance(pattern, str) else pattern
        super().__init__(
            lambda site: compiled.fullmatch(site.name) is not None, f"by_name({self.pattern!r})"
        )


def by_name(pattern: str | re.Pattern[str]) -> Predicate:
    """Convolutions whose whole name in ``named_modules()`` matches a pattern.

    Args:
        pattern: a shell pattern, or a compiled regular expression. In a shell pattern ``*`` stands
            for any characters, dots included, ``?`` for one, ``[ab]`` for one of a
            set.

    Raises:
        InvalidArgument: if the pattern is neither, or empty.

    Example:
        >>> by_name("layer?.*.conv1")
        by_name('layer?.*.conv1')
    """
    if not isinstance(pattern, str | re.Pattern) or not pattern:
        expected = "a non-empty string such as 'layer1.*', or a compiled regular expression"
        raise InvalidArgument("pattern", expected, pattern)
    return NamePattern(pattern)


def as_predicate(where: object) -> Predicate:
    """Makes a predicate of whatever :func:`rfaconv.convert_` takes as ``where``.

    Args:
        where: a predicate; a function of a site, or of name and module; or a pattern for
            :func:`by_name`.

    Raises:
        InvalidArgument: if it is something else.

    Example:
        >>> as_predicate("stem.*")
        by_name('stem.*')
    """
    if isinstance(where, Predicate):
        return where
    if isinstance(where, str | re.Pattern):
        return by_name(where)
    if not callable(where):
        raise InvalidArgument("where", "a predicate of a site or a name pattern", where)
    function: Callable[..., Any] = where
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    required = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    if len(required) == 2:
        return Predicate(lambda site: function(site.name, site.module), _name(function))
    return Predicate(function, _name(function))


def _name(predicate: Callable[..., Any]) -> str:
    return str(getattr(predicate, "name", getattr(predicate, "__name__", "a function")))


def _has_convolutions(module: nn.Module, *names: str) -> bool:
    return all(isinstance(getattr(module, name, None), Convolution) for name in names)


def _is_basic_block(module: nn.Module) -> bool:
    if not _has_convolutions(module, "conv1", "conv2") or hasattr(module, "conv3"):
        return False
    return "BasicBlock" in type(module).__name__ or hasattr(module, "downsample")


def _basic_block_conv1(site: Site) -> bool:
    return site.taps > 1 and site.attribute == "conv1" and _is_basic_block(site.parent)


def _bottleneck_3x3(site: Site) -> bool:
    if site.taps == 1:
        return False
    if site.attribute == "conv2" and _has_convolutions(site.parent, "conv1", "conv2", "conv3"):
        return True
    # ultralytics: Bottleneck.cv2 is a Conv (convolution, norm, activation)
    below = site.ancestors[-2] if len(site.ancestors) > 1 else None
    return (
        below is not None
        and "Bottleneck" in type(below).__name__
        and site.parent is getattr(below, "cv2", None)
    )


def _downsampling(site: Site) -> bool:
    return not site.first and site.taps > 1 and max(site.module.stride) > 1


basic_block_conv1 = Predicate(_basic_block_conv1, "basic_block_conv1")
"""The first 3x3 convolution of every basic residual block: what the paper replaces in ResNet-18 and
34."""

bottleneck_3x3 = Predicate(_bottleneck_3x3, "bottleneck_3x3")
"""The 3x3 convolution of every bottleneck: ``conv2`` in a ResNet-50, ``cv2`` in ultralytics'
Bottleneck."""

downsampling = Predicate(_downsampling, "downsampling")
"""Convolutions with a stride and a kernel above 1, but not the stem: what the paper replaces in
YOLO."""

spatial = Predicate(lambda site: site.taps > 1, "spatial")
"""All convolutions with a kernel above 1x1."""

everything = Predicate(lambda site: True, "everything")
"""All convolutions, also 1x1, where a receptive field has one entry and its attention is constant.
"""
