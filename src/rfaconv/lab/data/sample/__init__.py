"""The bundled sample of EuroSAT: small colour images of real land, without a download.

The files are those of EuroSAT (Helber et al. 2019, MIT licence); ``tools/eurosat_sample.py`` has
cut them out, and ``manifest.json`` says how many.
"""

from __future__ import annotations

from importlib.resources import as_file, files

from rfaconv.lab.data.base import TensorImages
from rfaconv.lab.data.eurosat import read_eurosat

ARCHIVE = "eurosat-sample.zip"


def read_sample() -> tuple[TensorImages, TensorImages, tuple[str, ...]]:
    """Training images, validation images, both uint8 (N, 3, 64, 64), and the ten class names.

    Raises:
        InvalidArgument: the file of the package is damaged.

    Example:
        >>> train, val, classes = read_sample()
        >>> train.images.shape[1:], len(classes)
        (torch.Size([3, 64, 64]), 10)

    Source: P. Helber, B. Bischke, A. Dengel, D. Borth, "EuroSAT: A Novel Dataset and Deep Learning
    Benchmark for Land Use and Land Cover Classification", IEEE JSTARS 12(7), 2019.
    """
    with as_file(files(__name__) / ARCHIVE) as archive:
        train, val, classes, _ = read_eurosat(archive, "val", strict=True)
    return train, val, classes
