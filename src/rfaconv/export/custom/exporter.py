"""Writes an ONNX file whose operators are nodes of the domain ``rfaconv``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.export.custom.forms import DOMAIN, VERSION, custom_forms
from rfaconv.export.custom.functions import add_functions
from rfaconv.export.custom.graph import absorb_followers

__all__ = ["export_onnx_custom"]


def export_onnx_custom(
    module: nn.Module,
    example: Tensor,
    path: str | os.PathLike[str],
    *,
    dynamic: bool = True,
    opset: int = 18,
) -> Path:
    """Exports a network for ONNX Runtime with our operator library.

    Every RFAConv2d, RFCBAMConv2d and RFCAConv2d becomes one node of the domain ``rfaconv``, with
    its BatchNorm folded in, and the BatchNorm and ReLU behind it too. All else is standard ONNX.
    The file also defines the nodes by standard operators, for runtimes without the library.

    Args:
        module: any network, or an operator, in evaluation mode, float32.
        example: an input (B, C, H, W).
        path: the file to write. It is written beside its place and renamed.
        dynamic: batch, height and width may change.
        opset: version of the standard operators, 18 or newer.

    Returns:
        The path.

    Raises:
        InvalidArgument: if a layer or an argument does not fit; nothing is written.

    Example:
        >>> from rfaconv.nn import RFAConv2d
        >>> export_onnx_custom(RFAConv2d(4, 8, 3).eval(), torch.randn(1, 4, 9, 8), "layer.onnx")
        PosixPath('layer.onnx')
    """
    if not isinstance(example, Tensor) or example.dim() != 4 or example.dtype != torch.float32:
        raise InvalidArgument("example", "a float32 tensor (B, C, H, W)", _describe(example))
    if not hasattr(torch.onnx, "ops"):
        raise InvalidArgument("torch", "version 2.8 or newer for this export", torch.__version__)
    if not isinstance(opset, int) or opset < 18:
        raise InvalidArgument("opset", "18 or newer", opset)
    if not Path(path).parent.is_dir():
        raise InvalidArgument("path", "a file in a folder that exists", str(path))
    form, names = custom_forms(module)
    if not names:
        raise InvalidArgument(
            "module", "a network with RFAConv2d, RFCBAMConv2d or RFCAConv2d", "none of them"
        )
    shapes = None
    if dynamic:
        auto = torch.export.Dim.AUTO
        # an example of one image would fix the batch
        example = example if example.shape[0] > 1 else example.repeat(2, 1, 1, 1)
        shapes = ({0: auto, 2: auto, 3: auto},)
    with torch.no_grad():
        program = torch.onnx.export(
            form,
            (example,),
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    absorb_followers(model)
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    add_functions(model, sorted(used), opset)
    _describe_model(model, names)
    return _write(model, Path(path))


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__


def _describe_model(model: Any, names: Sequence[str]) -> None:
    from rfaconv import __version__

    if not any(entry.domain == DOMAIN for entry in model.opset_import):
        entry = model.opset_import.add()
        entry.domain, entry.version = DOMAIN, VERSION
    model.producer_name, model.producer_version = DOMAIN, __version__
    entry = model.metadata_props.add()
    entry.key, entry.value = "rfaconv.custom_operators", ", ".join(names)


def _write(model: Any, path: Path) -> Path:
    import onnx

    onnx.checker.check_model(model)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        written = Path(folder) / path.name
        onnx.save(model, written)
        written.replace(path)
    return path
