"""An exported classifier in ONNX Runtime, and what its file says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime


class ModelError(Exception):
    """The file cannot be served; the message says what is missing."""


class Classifier:
    """From pictures to probabilities.

    Args:
        path: an ONNX file of ``rfaconv export``: one input (batch, channels, height, width) with a
            dynamic batch, one output of logits (batch, classes), and ``rfaconv.mean``,
            ``rfaconv.std``, ``rfaconv.input_size`` as JSON in its metadata; ``rfaconv.classes``
            too, or classes have their numbers for names.
        threads: for one network run.

    Raises:
        ModelError: no such file, not an ONNX file, a fixed batch, or metadata missing.
    """

    def __init__(self, path: Path, threads: int) -> None:
        if not path.is_file():
            raise ModelError(f"model: expected an ONNX file, got no file {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # plans are per batch size, and each takes a block of memory of its own for good
        options.enable_mem_pattern = False
        # waiting threads that spin take the processor from decoding
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a dozen classes of its own for this
            raise ModelError(f"model: {path} cannot be loaded: {error}") from error
        self._input = self._session.get_inputs()[0]
        if len(self._input.shape) != 4 or isinstance(self._input.shape[0], int):
            raise ModelError(
                "model: expected an input (batch, channels, height, width) with a dynamic batch, "
                f"got {self._input.shape}; export with dynamic sizes"
            )
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.version = metadata.get("rfaconv.version", "unknown")
        self.classes: list[str] | None = None
        if "rfaconv.classes" in metadata:
            self.classes = [str(name) for name in _read(metadata, "rfaconv.classes")]
        mean = np.asarray(_read(metadata, "rfaconv.mean"), np.float32)
        std = np.asarray(_read(metadata, "rfaconv.std"), np.float32)
        if mean.shape != std.shape or mean.shape not in {(1,), (3,)} or not (std > 0).all():
            raise ModelError(
                "model: expected rfaconv.mean and rfaconv.std with 1 or 3 numbers each, std > 0, "
                f"got {mean.tolist()} and {std.tolist()}"
            )
        self.channels = len(mean)
        size = _read(metadata, "rfaconv.input_size")
        if len(size) != 2 or not all(isinstance(v, int) and v > 0 for v in size):
            raise ModelError(f"model: expected [height, width] in rfaconv.input_size, got {size}")
        self.height, self.width = size
        # (x / 255 - mean) / std as one product and one difference
        self._scale, self._shift = 1 / (255 * std), mean / std

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities (batch, classes) of pictures (height, width, channels), uint8."""
        x = np.stack(images) * self._scale - self._shift
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        logits = self._session.run(None, {self._input.name: x})[0].astype(np.float64)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def warm_up(self, max_batch: int) -> None:
        """Runs every batch size once: first requests are not slow, memory has its final size.

        Raises:
            ModelError: the network does not give one number per class.
        """
        image = np.zeros((self.height, self.width, self.channels), np.uint8)
        for batch in range(max_batch, 0, -1):
            found = self.probabilities([image] * batch).shape
            if self.classes is None and len(found) == 2:
                self.classes = [str(i) for i in range(found[1])]
            expected = (batch, len(self.classes or ()))
            if found != expected:
                raise ModelError(
                    f"model: expected an output {expected}, one number per class, got {found}"
                )


def _read(metadata: Mapping[str, str], key: str) -> list:
    try:
        value = json.loads(metadata[key])
    except KeyError:
        raise ModelError(f"model: expected {key} in the file's metadata, got none") from None
    except ValueError as error:
        raise ModelError(f"model: expected JSON in {key}, got {metadata[key]!r}") from error
    if not isinstance(value, list):
        raise ModelError(f"model: expected a list in {key}, got {metadata[key]!r}")
    return value
