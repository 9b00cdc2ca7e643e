"""Networks to compare: a small timm ResNet for small images, or any network of timm by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.lab.networks.ablations import ablate_, resize_kernels_
from rfaconv.lab.seeds import seed_all
from rfaconv.models.width import narrowed, scaled
from rfaconv.variants import OPERATORS

SMALL = "small"
PLAIN = "conv"
"""The name of the standard convolution among the operators."""

COMPARABLE = (PLAIN, "cam", "cbam", "ca", "rfa", "rfcbam", "rfca")
assert set(COMPARABLE) == {PLAIN, *OPERATORS}
ABLATIONS = ("features", "unfold", "rfa-values")
"""Features without attention; attention on the patches themselves; logits from their values."""
TRAINABLE = (*COMPARABLE, *ABLATIONS)
POSITIONS = ("basic_block_conv1", "bottleneck_3x3", "downsampling", "spatial", "everything")


def build_network(
    name: str,
    operator: str,
    *,
    classes: int,
    channels: int,
    image_size: int,
    seed: int,
    backend: str = "auto",
    kernel_size: int | None = None,
    width: float = 1.0,
    pretrained: bool | str = False,
    fetch: bool = True,
) -> nn.Module:
    """A network of timm with ``operator`` in it.

    All layers but the replaced ones start from the same numbers for every operator with the
    same seed.

    Args:
        name: ``small`` (four BasicBlocks, 16 to 48 channels) or the name of a timm network.
        operator: ``conv`` for the network as it is, an operator's name, or one of ``ABLATIONS``.
        classes: outputs.
        channels: of the images.
        image_size: height and width in pixels; up to 64 the stem of a ResNet keeps more of the
            resolution.
        seed: of the initialisation.
        backend: of the operators.
        kernel_size: of the replaced convolutions of a ResNet, in pixels; None leaves 3.
        width: factor of the channels behind the stem of a ResNet.
        pretrained: whether timm fetches its weights, or a file with them; the stem then stays.
        fetch: without, no weights are read: the structure of such a network.

    Returns:
        A module from images (B, channels, image_size, image_size) to logits (B, classes).

    Raises:
        InvalidArgument: ``name`` is no network of timm, ``operator`` no operator, or the images
            are too small for the network.
    """
    if operator not in TRAINABLE:
        raise unknown_name("operators", operator, TRAINABLE)
    from timm.models.resnet import ResNet

    from rfaconv.models.fitted import fit_stem_

    seed_all(seed)
    network = (
        _small(classes, channels, width)
        if name == SMALL
        else _timm(name, classes, channels, image_size, width, fetch and pretrained)
    )
    if not isinstance(network, ResNet):
        _check_size(network, name, (channels, image_size, image_size))
    elif not pretrained:
        fit_stem_(network, channels, image_size)
    if kernel_size is not None:
        resize_kernels_(network, kernel_size)
    put_operator_(network, operator, backend)
    return network


def put_operator_(
    network: nn.Module,
    operator: str,
    backend: str = "auto",
    *,
    where: Sequence[str] | None = None,
    init: str = "fresh",
    calibration: Iterable[Any] | None = None,
) -> None:
    """Replaces convolutions by ``operator``, in place.

    Args:
        network: any.
        operator: as of :func:`build_network`.
        backend: of the operators.
        where: names of ``POSITIONS`` or patterns of names, joined; None is the 3x3 convolution of
            every residual block, and without such blocks every spatial one but the stem.
        init: as of :func:`rfaconv.convert_`.
        calibration: as of :func:`rfaconv.convert_`.

    Raises:
        InvalidArgument: there is no such convolution, or an ablation that has no such form.
    """
    if operator in ABLATIONS:
        if init != "fresh" or where is not None:
            expected = "conv or an operator with a warm start, pretrained weights or model.where"
            raise InvalidArgument("model.operator", expected, operator)
        ablate_(network, operator)
    elif operator != PLAIN:
        from rfaconv.surgery import convert_

        convert_(network, operator, _predicate(network, where), init, calibration)
    for module in network.modules():
        if hasattr(module, "backend"):
            setattr(module, "backend", backend)  # noqa: B010  # a module's attribute, for mypy


def check_network(name: str) -> None:
    """Raises InvalidArgument unless ``name`` is ``small`` or a network of timm."""
    if name == SMALL:
        return
    import timm

    import rfaconv.models  # noqa: F401  # registers those of the package

    if not timm.is_model(name):
        error = unknown_name("model", name, [SMALL, *timm.list_models()])
        # the list has a thousand names; the nearest are enough
        hint = error.expected[error.expected.find(" (did you mean") :]
        hint = hint if hint.startswith(" (did") else ""
        raise InvalidArgument("model", f"{SMALL} or a network of timm{hint}", repr(name))


def _predicate(network: nn.Module, names: Sequence[str] | None) -> Any:
    from rfaconv.surgery import where

    if names is not None:
        chosen = [getattr(where, n) if n in POSITIONS else where.by_name(n) for n in names]
        joined = chosen[0]
        for one in chosen[1:]:
            joined = joined | one
        return joined
    blocks = where.basic_block_conv1 | where.bottleneck_3x3
    from rfaconv.surgery.sites import find_sites

    if any(blocks(site) for site in find_sites(network)):
        return blocks
    return where.Predicate(lambda site: site.taps > 1 and not site.first, "spatial behind the stem")


def _small(classes: int, channels: int, width: float) -> nn.Module:
    from timm.models.resnet import ResNet

    from rfaconv.models.fitted import SMALL_LAYOUT, SMALL_WIDTHS

    layout = {**SMALL_LAYOUT, "channels": scaled(SMALL_WIDTHS, width)}
    network: nn.Module = ResNet(num_classes=classes, in_chans=channels, **layout)
    return network


def _timm(
    name: str, classes: int, channels: int, size: int, width: float, pretrained: bool | str
) -> nn.Module:
    check_network(name)
    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    options |= narrowed(name, width)
    if isinstance(pretrained, str):
        options["pretrained_cfg_overlay"] = {"file": pretrained}
    try:
        return _created(name, bool(pretrained), size, options)
    except (OSError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise InvalidArgument("model.pretrained", f"weights of {name}", reason) from error


def _created(name: str, pretrained: bool, size: int, options: dict[str, Any]) -> nn.Module:
    import timm

    network: nn.Module
    try:
        # transformers are built for one size of image
        network = timm.create_model(name, pretrained=pretrained, img_size=size, **options)
    except TypeError:
        network = timm.create_model(name, pretrained=pretrained, **options)
    return network


def _check_size(network: nn.Module, name: str, image: tuple[int, int, int]) -> None:
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *image))
    except (RuntimeError, AssertionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        got = f"{image[1]} ({reason})"
        raise InvalidArgument("data.image_size", f"a size that {name} takes", got) from error
    network.train()
