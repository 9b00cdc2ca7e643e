"""Networks to compare: a small timm ResNet for small images, or any timm ResNet by name."""

from __future__ import annotations

from torch import nn

from rfaconv.errors import InvalidArgument, unknown_name
from rfaconv.training.ablations import ablate_, resize_kernels_
from rfaconv.training.seeds import seed_all
from rfaconv.variants import OPERATORS

SMALL = "small"
PLAIN = "conv"
"""The name of the standard convolution among the operators."""

BACKENDS = ("auto", "reference", "cpu", "triton")
COMPARABLE = (PLAIN, "cam", "cbam", "ca", "rfa", "rfcbam", "rfca")
assert set(COMPARABLE) == {PLAIN, *OPERATORS}
ABLATIONS = ("none", "unfold")
"""Features without attention; attention on the patches themselves."""
TRAINABLE = (*COMPARABLE, *ABLATIONS)


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
) -> nn.Module:
    """A timm ResNet whose first 3x3 convolution of every block is ``operator``.

    All layers but the replaced ones start from the same numbers for every operator with the
    same seed.

    Args:
        name: ``small`` (four BasicBlocks, 16 to 48 channels) or the name of a timm ResNet.
        operator: ``conv`` for the network as it is, an operator's name, or one of ``ABLATIONS``.
        classes: outputs.
        channels: of the images.
        image_size: height and width in pixels; up to 64 the stem keeps more of the resolution.
        seed: of the initialisation.
        backend: of the operators.
        kernel_size: of the replaced convolutions, in pixels; None leaves 3.

    Returns:
        A module from images (B, channels, image_size, image_size) to logits (B, classes).

    Raises:
        InvalidArgument: ``name`` is no timm ResNet or ``operator`` no operator.
    """
    if operator not in TRAINABLE:
        raise unknown_name("operators", operator, TRAINABLE)
    from rfaconv.models.fitted import fit_stem_

    seed_all(seed)
    network = _small(classes, channels) if name == SMALL else _timm(name, classes, channels)
    fit_stem_(network, channels, image_size)
    if kernel_size is not None:
        resize_kernels_(network, kernel_size)
    put_operator_(network, operator, backend)
    return network


def put_operator_(
    network: nn.Module, operator: str, backend: str = "auto", *, init: str = "fresh"
) -> None:
    """Replaces the 3x3 convolution of every residual block by ``operator``, in place."""
    if operator in ABLATIONS:
        ablate_(network, operator)
    elif operator != PLAIN:
        from rfaconv.surgery import convert_
        from rfaconv.surgery.where import basic_block_conv1, bottleneck_3x3

        where = basic_block_conv1 if _has_basic_blocks(network) else bottleneck_3x3
        convert_(network, operator, where=where, init=init)
    for module in network.modules():
        if hasattr(module, "backend"):
            setattr(module, "backend", backend)  # noqa: B010  # a module's attribute, for mypy


def check_network(name: str) -> None:
    """Raises InvalidArgument unless ``name`` is ``small`` or a ResNet of timm."""
    if name == SMALL:
        return
    import timm

    known = timm.list_models(module="resnet")
    if name not in known:
        error = unknown_name("model", name, [SMALL, *known])
        # the list has a hundred names; the nearest are enough
        hint = error.expected[error.expected.find(" (did you mean") :]
        hint = hint if hint.startswith(" (did") else ""
        raise InvalidArgument("model", f"{SMALL} or a ResNet of timm{hint}", repr(name))


def _small(classes: int, channels: int) -> nn.Module:
    from timm.models.resnet import ResNet

    from rfaconv.models.fitted import SMALL_LAYOUT

    network: nn.Module = ResNet(num_classes=classes, in_chans=channels, **SMALL_LAYOUT)
    return network


def _timm(name: str, classes: int, channels: int) -> nn.Module:
    import timm

    check_network(name)
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=classes, in_chans=channels
    )
    return network


def _has_basic_blocks(network: nn.Module) -> bool:
    from timm.models.resnet import BasicBlock

    return any(isinstance(module, BasicBlock) for module in network.modules())
