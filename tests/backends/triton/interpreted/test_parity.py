"""Every kernel against the reference in float64, forward and each named gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from interpreted.kernels import fused, layout, parity

from rfaconv.backends.cases import Case, draw, evaluate
from rfaconv.backends.triton.common import configs, launch
from rfaconv.backends.triton.common.operands import Geometry
from rfaconv.backends.triton.project import backward
from rfaconv.backends.triton.project import launch as projection
from rfaconv.backends.triton.scan.launch import FeatureGradients
from rfaconv.backends.triton.stats import launch as stats
from rfaconv.geometry import Window
from rfaconv.reference.parity import compare, require
from rfaconv.variants import GATES

OPS = [
    ("patch_moments", ""),
    ("feature_stats", "rfcbam"),
    ("feature_stats", "rfca"),
    *(("project", variant) for variant in GATES),
]
NAMES = ["-".join(filter(None, op)) for op in OPS]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
BASE = Case(batch=2, channels=5, out_channels=7, size=(5, 4))
SMALL = replace(BASE, size=(3, 4))


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
@pytest.mark.parametrize(("op", "variant"), OPS, ids=NAMES)
def test_dtypes(op: str, variant: str, dtype: torch.dtype) -> None:
    last = dtype != torch.float32
    require(parity(replace(SMALL, op=op, variant=variant, dtype=dtype, channels_last=last)))


WINDOWS = [
    Window((3, 3), (2, 1), ((0, 1), (2, 0)), (1, 1)),
    Window((3, 3), (1, 2), ((2, 1), (0, 2)), (2, 1)),
    Window.create(1, 2, 0),
]


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(("op", "variant"), OPS, ids=NAMES)
def test_windows(op: str, variant: str, window: Window) -> None:
    require(parity(replace(BASE, op=op, variant=variant, window=window)))


def test_tiles_of_the_table() -> None:
    """The configurations as they are: tiles span images, channels take more than one block."""
    require(parity(replace(BASE, channels=35, size=(3, 2), batch=3)))


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("op", ["patch_moments", "project"])
def test_scans_of_several_programs(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that share an image's rows, the last of them short, and its channels."""
    for name in ("along_rows", "lines"):
        monkeypatch.setattr(configs, name, lambda *_, **__: configs.RowConfig(2, 16, 1))
    variant = "rfca" if op == "project" else ""
    case = replace(BASE, op=op, variant=variant, channels=17, size=(3, 4), batch=2)
    require(parity(case))


@pytest.mark.parametrize("stride", [1, 2])
def test_moments_of_long_lines(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that share a line: sums in float32 must not get long."""
    monkeypatch.setattr(configs, "LONGEST", 3)
    case = replace(BASE, op="patch_moments", size=(3, 11), window=Window.create(3, stride))
    require(parity(case))


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", ["patch_moments", "project"])
def test_large_mean(op: str, stride: int) -> None:
    """Mean 100, standard deviation 1: sums of squares cancel."""
    require(parity(replace(BASE, op=op, mean=100.0, window=Window.create(3, stride))))


@pytest.mark.usefixtures("large_tiles")
def test_large_logits() -> None:
    """Attention close to one tap, both signs."""
    require(parity(replace(BASE, logits=80.0)))


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("path", ["scan", "tensor cores"])
@pytest.mark.parametrize("scale", [2.0**30, 1e10, 1e30])
def test_logits_beyond_the_exponent(scale: float, path: str) -> None:
    """The largest logit is taken off exactly, whatever its size: gates are those of one tap."""
    case = replace(BASE, std=scale, logits=scale)
    if path == "tensor cores":
        case = replace(case, channels=16, dtype=torch.bfloat16, channels_last=True, size=(3, 4))
    require(parity(case))


@pytest.mark.usefixtures("large_tiles")
def test_chunks_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace for one image at a time gives what a workspace for all gives."""
    case = replace(BASE, batch=3, size=(3, 2), variant="rfcbam", channels_last=True)
    inputs = draw(case)
    whole = fused(case, inputs)
    monkeypatch.setattr(launch, "WORKSPACE_BYTES", 1)
    parts = fused(case, inputs)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("path", ["fused", "panel"])
def test_paths_of_float32(path: str) -> None:
    """With TF32 the fused kernel, which the interpreter runs in float32, else the panel."""
    case = replace(BASE, channels=19, channels_last=True, size=(3, 4))
    inputs = draw(case)
    x = inputs["x"].float().to(memory_format=torch.channels_last)
    rest = [inputs[n].float() for n in ("feature_weight", "feature_bias")]
    gate, tail = [inputs["gate0"].float()], [inputs[n].float() for n in ("weight", "bias")]
    plain, oracle = (evaluate(case, inputs, w, gradients=False)["y"] for w in ("plain", "oracle"))
    geometry = Geometry.of(x, case.window.to_ints())
    config = configs.project("float32", 9, 7, tensor_cores=path == "fused")
    assert config.path == path
    y = torch.full_like(oracle, torch.nan, dtype=torch.float32)
    projection.run_project(x, *rest, gate, *tail, y, case.variant, geometry, config)
    require([compare(path, y, plain, oracle)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@pytest.mark.parametrize("variant", GATES)
def test_features_as_a_product(
    variant: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight channels at a time, in the same kernel as the projection and for the panel."""
    monkeypatch.setattr(configs, "PANEL", replace(configs.PANEL, block_p=16))
    window = Window.create(3) if dtype == torch.float16 else WINDOWS[1]
    case = replace(BASE, variant=variant, channels=16, dtype=dtype, window=window)
    inputs = draw(case)
    x = inputs["x"].to(dtype).to(memory_format=torch.channels_last)
    rest = [inputs[n].float() for n in ("feature_weight", "feature_bias")]
    gate = [inputs[n].float() for n in sorted(inputs) if n.startswith("gate")]
    tail = [inputs[n].to(dtype) for n in ("weight", "bias")]
    oracle = evaluate(case, inputs, "oracle", gradients=False)["y"]
    plain = evaluate(case, inputs, "plain", gradients=False)["y"]
    geometry = Geometry.of(x, window.to_ints())
    name = str(dtype).removeprefix("torch.")
    first = configs.project(name, 9, 7, tensor_cores=True, variant=variant)
    assert first.path == "tensor_cores"
    for config in (replace(first, block_p=16), configs.ProjectConfig("panel")):
        y = torch.full_like(oracle, torch.nan, dtype=dtype)
        projection.run_project(x, *rest, gate, *tail, y, variant, geometry, config)
        require([compare(config.path, y, plain, oracle)])


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("kernel", [1, 3])
def test_parameters_in_16_bits(kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model in bfloat16 holds gives what the same numbers in float32 give."""
    monkeypatch.setattr(configs, "PANEL", replace(configs.PANEL, block_p=16))
    window = Window.create(kernel)
    case = replace(BASE, size=(3, 4), channels=16, dtype=torch.bfloat16, window=window)
    inputs = draw(case)
    x = inputs["x"].bfloat16().to(memory_format=torch.channels_last)
    small = [inputs[n].bfloat16() for n in ("feature_weight", "feature_bias", "gate0")]
    tail = [inputs[n].bfloat16() for n in ("weight", "bias")]
    results = []
    for weight, bias, gate in (small, [v.float() for v in small]):
        arguments = ([gate], *tail, "rfa", 1, window.to_ints())
        results.append(projection.project(x, weight, bias, *arguments))
    assert torch.equal(*results)


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_layout_of_results(last: bool) -> None:
    """y and dx lie in memory as x does."""
    case = replace(BASE, channels_last=last, variant="none", size=(3, 4))
    got = fused(case, draw(case))
    want = torch.channels_last if last else torch.contiguous_format
    assert layout(got["y"]) == want
    assert layout(got["dx"]) == want


@pytest.mark.usefixtures("large_tiles")
def test_slices_without_copies() -> None:
    """A slice of channels and rows of a larger map, by its strides."""
    case = replace(BASE, size=(3, 4), variant="none")
    inputs = draw(case)
    larger = torch.full((2, 7, 5, 8), torch.nan)
    larger[:, 1:6, 1:4, ::2] = inputs["x"].float()
    x = larger[:, 1:6, 1:4, ::2]
    rest = [inputs[n].float() for n in ("feature_weight", "feature_bias")]
    tail = [inputs[n].float() for n in ("weight", "bias")]
    y = projection.project(x, *rest, [], *tail, "none", 1, case.window.to_ints())
    oracle = evaluate(case, inputs, "oracle", gradients=False)["y"]
    require([compare("y", y, oracle.float(), oracle)])


@pytest.mark.usefixtures("large_tiles")
def test_only_what_is_needed() -> None:
    """Gradients that nobody asked for come back empty, the others unchanged."""
    case = replace(BASE, size=(3, 4), variant="rfca")
    inputs = draw(case)
    want = evaluate(case, inputs, "oracle")
    args = [inputs[n].float() for n in ("d.y", "x", "feature_weight", "feature_bias")]
    gate = [inputs[n].float() for n in ("gate0", "gate1")]
    window = case.window.to_ints()
    for index, name in enumerate(("dx", "dfeature_weight", "dfeature_bias", "dweight")):
        needs = [i == index for i in range(5)]
        grads = backward.project_backward(
            *args, gate, inputs["weight"].float(), "rfca", 1, window, needs
        )
        assert [g.numel() for g in grads[4]] == [0, 0]
        for i, grad in enumerate(grads[:4]):
            if i == index:
                require([compare(name, grad, want[name].float(), want[name])])
            else:
                assert grad.numel() == 0


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
def test_nothing_in_nothing_out(last: bool) -> None:
    """A batch of no images: empty results, gradients of zero, moments of nothing."""
    case = replace(BASE, batch=0, channels_last=last)
    got = fused(case, draw(case))
    assert got["y"].shape == (0, 7, 5, 4)
    assert got["dx"].shape == (0, 5, 5, 4)
    for name in ("dfeature_weight", "dfeature_bias", "dweight", "dgate0"):
        assert torch.equal(got[name], torch.zeros_like(got[name])), name
    moments = fused(replace(case, op="patch_moments"), draw(replace(case, op="patch_moments")))
    assert moments["mean"].isnan().all()


# the interpreter computes with NumPy, which warns of inf - inf
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize(("op", "variant"), OPS[1:], ids=NAMES[1:])
def test_nan_and_infinity(op: str, variant: str) -> None:
    """They stand where plain torch has them, and nowhere else."""
    case = replace(BASE, op=op, variant=variant, size=(5, 6), batch=1)
    inputs = draw(case)
    inputs["x"][0, 1, 0, 0], inputs["x"][0, 2, 4, 5] = torch.nan, torch.inf
    x = inputs["x"].float()
    rest = [inputs[n].float() for n in ("feature_weight", "feature_bias")]
    window = case.window.to_ints()
    plain = evaluate(case, inputs, "plain", gradients=False)
    oracle = evaluate(case, inputs, "oracle", gradients=False)
    if op == "feature_stats":
        got = dict(zip(("s0", "s1"), stats.feature_stats(x, *rest, variant, window), strict=True))
    else:
        gate = [inputs[n].float() for n in sorted(inputs) if n.startswith("gate")]
        tail = [inputs[n].float() for n in ("weight", "bias")]
        got = {"y": projection.project(x, *rest, gate, *tail, variant, 1, window)}
    require([compare(name, value, plain[name], oracle[name]) for name, value in got.items()])


@pytest.mark.usefixtures("large_tiles")
def test_equal_maxima_share_their_gradient() -> None:
    """Two channels alike: each receives half of what reaches the maximum, as amax gives it."""
    case = replace(BASE, op="feature_stats", variant="rfcbam", size=(3, 4))
    inputs = draw(case)
    for name in ("feature_weight", "feature_bias"):
        inputs[name] = inputs[name][:1].expand_as(inputs[name]).clone()
    inputs["x"] = inputs["x"][:, :1].expand_as(inputs["x"]).clone()
    got = fused(case, inputs)
    plain, oracle = (evaluate(case, inputs, way) for way in ("plain", "oracle"))
    require([compare(n, got[n], plain[n], oracle[n]) for n in oracle])


@pytest.mark.usefixtures("large_tiles")
def test_wide_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """64-bit offsets, which maps of 2**31 elements take, give what 32-bit offsets give."""
    of = Geometry.of
    monkeypatch.setattr(Geometry, "of", staticmethod(lambda *a: replace(of(*a), wide=True)))
    require(parity(replace(BASE, size=(3, 4))))


def test_comparison_can_fail() -> None:
    """A result that is wrong by a thousandth does not pass."""
    case = replace(BASE, op="patch_moments", size=(3, 2))
    plain, oracle = (evaluate(case, draw(case), way) for way in ("plain", "oracle"))
    assert not compare("mean", oracle["mean"] * 1.001, plain["mean"], oracle["mean"]).passed


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("kernel", [1, 3])
def test_gradient_of_the_weight_has_its_format(kernel: int) -> None:
    """A channels_last weight gets a channels_last gradient with the same numbers."""
    case = replace(BASE, size=(3, 3), window=Window.create(kernel), variant="none")
    inputs = draw(case)
    found = {}
    for format in (torch.contiguous_format, torch.channels_last):
        inputs["weight"] = inputs["weight"].contiguous(memory_format=format)
        found[format] = fused(case, inputs)["dweight"]
        assert found[format].is_contiguous(memory_format=format)
    torch.testing.assert_close(*found.values(), rtol=0, atol=0)


def test_sums_of_many_programs() -> None:
    """More programs than one tile of the sum holds: the channel gate's, and those of G'."""
    x = torch.zeros(150, 35, 4, 3)
    geometry = Geometry.of(x, Window.create(3).to_ints())
    for source, shape in ((2, (150, 35)), (1, (35, 9))):
        scan = FeatureGradients(x, torch.zeros(1), geometry, source)
        scan.sums.copy_(torch.randn(scan.sums.shape, generator=torch.Generator().manual_seed(0)))
        total = scan.sums.double().sum(0)
        dg, db, dgate = scan.joined()
        torch.testing.assert_close(dg.double(), total[:, :9].permute(2, 0, 1), rtol=0, atol=1e-4)
        torch.testing.assert_close(db.double(), total[:, 9].t(), rtol=0, atol=1e-4)
        want = total[:, 10].t() if source == 1 else scan.sums[:, :, 10].double().sum(1)
        assert dgate.shape == shape
        torch.testing.assert_close(dgate.double(), want, rtol=0, atol=1e-4)
