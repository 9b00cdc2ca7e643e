"""ONNX Runtime with the operators as single nodes that run our C++ kernels.

``export_onnx_custom`` writes a file whose operators are nodes of the domain ``rfaconv``;
:func:`session` opens it with the library that has them. The file also defines them by standard
operators, which run where the library is missing. :func:`compile_openvino` opens it in OpenVINO.

May import: surgery and everything below it. Needs onnx, onnxscript and onnxruntime (extra
``export``).

Example:
    >>> import rfaconv.nn, torch
    >>> from rfaconv.export.custom import export_onnx_custom, session
    >>> layer = rfaconv.nn.RFAConv2d(16, 32, 3).eval()
    >>> path = export_onnx_custom(layer, torch.randn(1, 16, 9, 8), "layer.onnx")
    >>> session(path, threads=1).run(None, {"x": torch.randn(2, 16, 7, 5).numpy()})[0].shape
    (2, 32, 7, 5)
"""

from rfaconv.export.custom.exporter import export_onnx_custom
from rfaconv.export.custom.forms import custom_forms
from rfaconv.export.custom.openvino_kernels import compile_openvino
from rfaconv.export.custom.sessions import LIBRARY_NAME, library_path, session

__all__ = [
    "LIBRARY_NAME",
    "compile_openvino",
    "custom_forms",
    "export_onnx_custom",
    "library_path",
    "session",
]
