"""BatchNorm by moments against ``nn.BatchNorm2d`` on the features themselves."""

import pytest
import torch
from torch import nn

from rfaconv import functional as F
from rfaconv.geometry import Window
from rfaconv.nn._norm import norm_state

WINDOW = Window.create(3, (2, 1))


def both(norm, x, weight):
    conv = torch.nn.functional.conv2d(x, weight, None, WINDOW.stride, (1, 1), groups=x.shape[1])
    return norm(conv)


@pytest.mark.parametrize("momentum", [0.1, 0.03, None])
@pytest.mark.parametrize("affine", [True, False])
def test_output_and_running_statistics(momentum, affine):
    x = torch.randn(3, 4, 7, 6, dtype=torch.float64)
    weight = torch.randn(36, 1, 3, 3, dtype=torch.float64)
    stock = nn.BatchNorm2d(36, momentum=momentum, affine=affine, dtype=torch.float64)
    ours = nn.BatchNorm2d(36, momentum=momentum, affine=affine, dtype=torch.float64)
    for step in range(3):
        expected = both(stock, x + step, weight).relu()
        g, b = F.fold_features(x + step, weight, norm_state(ours), WINDOW)
        from rfaconv.reference import features

        actual = features(x + step, g, b, WINDOW).flatten(1, 2)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    for name, value in stock.named_buffers():
        torch.testing.assert_close(getattr(ours, name), value, rtol=1e-12, atol=1e-12)


def test_without_tracking_batch_statistics_are_used_in_evaluation_too():
    x = torch.randn(3, 4, 7, 6, dtype=torch.float64)
    weight = torch.randn(36, 1, 3, 3, dtype=torch.float64)
    norm = nn.BatchNorm2d(36, track_running_stats=False, dtype=torch.float64).eval()
    g, b = F.fold_features(x, weight, norm_state(norm), WINDOW)
    z = torch.nn.functional.conv2d(x, weight, None, WINDOW.stride, (1, 1), groups=4)
    scaled = torch.nn.functional.conv2d(
        x, g.reshape(36, 1, 3, 3), b.flatten(), WINDOW.stride, (1, 1), groups=4
    )
    torch.testing.assert_close(scaled, norm(z), rtol=1e-10, atol=1e-10)


def test_a_single_window_trains():
    x = torch.randn(1, 2, 1, 1, dtype=torch.float64)
    norm = nn.BatchNorm2d(18, dtype=torch.float64)
    weight = torch.randn(18, 1, 3, 3, dtype=torch.float64)
    g, b = F.fold_features(x, weight, norm_state(norm), Window.create(3))
    assert torch.isfinite(g).all()
    assert torch.isfinite(b).all()
    assert torch.isfinite(norm.running_var).all()
