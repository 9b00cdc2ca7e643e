"""The formulas in plain torch against explicit loops over the definition."""

import pytest
import torch
from testing import loops

from rfaconv import reference
from rfaconv.functional.pixel import pixel_gate
from rfaconv.geometry import Window

CASES = [
    # batch, C, O, groups, size, window
    (2, 4, 6, 2, (5, 4), Window.create((3, 2), (2, 1), (1, 0))),
    (1, 3, 2, 1, (5, 6), Window.create(3, dilation=(2, 1))),
    (2, 2, 3, 1, (4, 3), Window.create(1)),
    (1, 2, 2, 1, (4, 5), Window.create(4, padding="same")),
    (1, 1, 2, 1, (7, 6), Window.create(5, 3)),
]


def make(case):
    batch, channels, outputs, groups, size, window = case
    taps = window.taps
    generator = torch.Generator().manual_seed(taps)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "x": draw(batch, channels, *size),
        "g": draw(channels, taps, taps),
        "b": draw(channels, taps),
        "weight": draw(outputs, channels // groups, *window.kernel),
        "bias": draw(outputs),
        "attention": 3 * draw(channels, taps),
        "channel": draw(batch, channels).sigmoid(),
        "spatial": draw(1, 2, 3, 3),
        "groups": groups,
        "window": window,
    }


def close(actual, expected):
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("recorded", [False, True], ids=["inference", "recorded"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c[-1]))
class TestProject:
    def project(self, t, variant, gate, recorded):
        g = t["g"].clone().requires_grad_(recorded)
        return reference.project(
            t["x"], g, t["b"], gate, t["weight"], t["bias"], variant, t["groups"], t["window"]
        ).detach()

    def expected(self, t, f, a):
        return loops.projection(f, a, t["weight"], t["bias"], t["groups"])

    def test_none(self, case, recorded):
        t = make(case)
        f = loops.features(t["x"], t["g"], t["b"], t["window"])
        close(self.project(t, "none", [], recorded), self.expected(t, f, torch.ones_like(f)))

    def test_rfa(self, case, recorded):
        t = make(case)
        f = loops.features(t["x"], t["g"], t["b"], t["window"])
        a = loops.rfa_gate(t["x"], t["attention"], t["window"])
        actual = self.project(t, "rfa", [t["attention"]], recorded)
        close(actual, self.expected(t, f, a))

    def test_rfcbam(self, case, recorded):
        t = make(case)
        f = loops.features(t["x"], t["g"], t["b"], t["window"])
        a = loops.rfcbam_gate(f, t["channel"], t["spatial"], t["window"])
        maximum, mean = reference.feature_stats(t["x"], t["g"], t["b"], "rfcbam", t["window"])
        close(maximum, f.amax(1))
        pixel = pixel_gate(maximum, mean, t["spatial"], t["window"])
        actual = self.project(t, "rfcbam", [t["channel"], pixel], recorded)
        close(actual, self.expected(t, f, a))

    def test_rfca(self, case, recorded):
        t = make(case)
        f = loops.features(t["x"], t["g"], t["b"], t["window"])
        row, col = loops.rfca_means(f, t["window"])
        means = reference.feature_stats(t["x"], t["g"], t["b"], "rfca", t["window"])
        close(means[0], row)
        close(means[1], col)
        gates = [row.sigmoid(), col.sigmoid()]
        a = loops.rfca_gate(*gates, t["window"], f.shape[3:])
        close(self.project(t, "rfca", gates, recorded), self.expected(t, f, a))


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c[-1]))
def test_moments(case):
    t = make(case)
    x, window = t["x"], t["window"]
    out = window.output_size(x.shape[2:])
    mean, cov = reference.patch_moments(x, window)
    for c in range(x.shape[1]):
        u = torch.tensor(
            [loops.patch(x, window, b, c, p) for b in range(len(x)) for p in loops.positions(out)],
            dtype=torch.float64,
        )
        close(mean[c], u.mean(0))
        close(cov[c], torch.cov(u.T, correction=0).reshape(window.taps, window.taps))


def test_moments_survive_a_large_mean():
    x = (100 + torch.randn(4, 3, 17, 19)).float()
    window = Window.create(3, padding=0)
    mean, cov = reference.patch_moments(x, window)
    mean64, cov64 = reference.patch_moments(x.double(), window)
    torch.testing.assert_close(mean, mean64, rtol=1e-6, atol=0)
    assert (cov - cov64).abs().max() < 1e-5 * cov64.abs().max()
