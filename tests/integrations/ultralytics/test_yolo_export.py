"""Every operator through ultralytics' exporter: the exported network computes what PyTorch does."""

from __future__ import annotations

import numpy as np
import pytest
from testing.yolo_exports import FORMATS, NETWORKS, compare, error, missing

from rfaconv.variants import OPERATORS


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exports")


@pytest.mark.parametrize("operator", ["rfa"])
def test_export_of_a_trained_network(operator, folder):
    assert compare("yolov8n", operator, "onnx-dynamic", folder)[1] <= 1


@pytest.mark.nightly
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_matrix(network, operator, kind, folder):
    if absent := missing(kind):
        pytest.skip(f"not installed: {absent}")
    assert compare(network, operator, kind, folder)[1] <= 1


def test_a_wrong_box_is_seen():
    """Boxes sorted by score: rows may change places, and nothing else may."""
    generator = np.random.default_rng(0)
    rows = generator.uniform(0, 90, (1, 20, 6)).astype(np.float32)
    rows[0, :, 4] = np.linspace(0.9, 0.1, 20)
    moved = rows.copy()
    moved[0, [3, 4]] = moved[0, [4, 3]]
    assert error(moved, rows)[0] == 0
    # the columns of two boxes mixed: sorted column by column nothing would be seen
    mixed = rows.copy()
    mixed[0, [3, 4], 0] = mixed[0, [4, 3], 0]
    assert error(mixed, rows)[1] > 1
    with pytest.raises(AssertionError, match="shape"):
        error(rows[:, :3], rows)
    plain = np.ones((1, 5, 8), np.float32)
    other = plain.copy()
    other[0, 1, 1] += 0.01
    assert error(other, plain) == pytest.approx((0.01, 0.01 / 0.003), rel=1e-3)
