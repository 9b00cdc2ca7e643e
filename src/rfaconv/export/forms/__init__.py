"""The layers as runtimes run them fastest: plain modules, equal in value, swapped in for export.

May import: nn and everything below it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from rfaconv.export.forms.rfa import RFAForm
from rfaconv.export.forms.rfca import RFCAForm
from rfaconv.export.forms.rfca_openvino import rfca_for_openvino
from rfaconv.export.forms.rfcbam import RFCBAMForm
from rfaconv.export.forms.xnnpack import XnnpackRFA, XnnpackRFCA, XnnpackRFCBAM
from rfaconv.nn import RFAConv2d, RFCAConv2d, RFCBAMConv2d

__all__ = ["FORMS", "OPENVINO_FORMS", "shape_for_export_"]

FORMS: dict[type[nn.Module], Any] = {
    RFAConv2d: RFAForm,
    RFCBAMConv2d: RFCBAMForm,
    RFCAConv2d: RFCAForm,
}
"""The layers that have a form; the others already are what runtimes like."""

OPENVINO_FORMS: dict[type[nn.Module], Any] = {**FORMS, RFCAConv2d: rfca_for_openvino}

XNNPACK_FORMS: dict[type[nn.Module], Any] = {
    RFAConv2d: XnnpackRFA,
    RFCBAMConv2d: XnnpackRFCBAM,
    RFCAConv2d: XnnpackRFCA,
}

_OF_RUNTIME = {"openvino": OPENVINO_FORMS, "executorch": XNNPACK_FORMS}


def shape_for_export_(network: nn.Module, runtime: str = "onnx") -> nn.Module:
    """Replaces every fused layer of :data:`FORMS` by its form, in place.

    Args:
        network: in evaluation mode, its operators fused (:func:`rfaconv.fuse`).
        runtime: the target that the forms are for; all of them run every form.

    Returns:
        The network; the form itself where the network is one layer.
    """
    kind = _OF_RUNTIME.get(runtime, FORMS).get(type(network))
    if kind is not None:
        form: nn.Module = kind(network, runtime)
        return form.train(network.training)
    for name, child in network.named_children():
        setattr(network, name, shape_for_export_(child, runtime))
    return network
