"""Networks by name: parameters, operations, positions, errors, fusing, conversion, loading."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types

import pytest
import torch

import rfaconv
from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics import convert, model_config, write_model_yaml
from rfaconv.variants import OPERATORS


def build(config):
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(config, verbose=False)


def size(model):
    return sum(p.numel() for p in model.parameters())


def agitate(model):
    """Running statistics and norms that are not what they start from."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
            for tensor in (module.running_var, module.weight.data):
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model.eval()


# extra parameters at the published positions: paper, section 4.2
@pytest.mark.parametrize(
    ("network", "positions", "extra"),
    [
        ("yolov5n", [1, 3, 5, 7, 18, 21], 47_328),
        ("yolov5s", [1, 3, 5, 7, 18, 21], 94_656),
        ("yolov7-tiny", [5, 12, 19, 26], 52_320),
        ("yolov8n", [1, 3, 5, 7, 16, 19], 47_328),
        ("yolo11n", [1, 3, 5, 7, 17, 20], None),
        ("yolo26n", [1, 3, 5, 7, 17, 20], None),
    ],
)
def test_positions_and_parameters(network, positions, extra):
    plain, ours = build(model_config(network, None)), build(model_config(network, "rfa"))
    found = [m.i for m in ours.model if type(m).__name__ == "RFAConv"]
    assert found == positions
    channels = sum(ours.model[i].conv.in_channels * 108 for i in positions)
    channels += sum(ours.model[i].conv.out_channels for i in positions)
    assert size(ours) - size(plain) == channels
    if extra is not None:
        assert channels == extra
    assert ours.stride.tolist() == plain.stride.tolist()
    assert all(type(ours.model[i].act) is type(plain.model[i].act) for i in positions)


# README of the published code for 80 classes: parameters in millions, GFLOPs
@pytest.mark.parametrize(
    ("operator", "parameters", "gflops"),
    [
        (None, 3.1, 8.7),
        ("cam", 3.1, 8.8),
        ("cbam", 3.1, 8.8),
        ("ca", 3.1, 8.8),
        ("rfa", 3.2, 9.0),
        ("rfca", 3.2, 9.1),
    ],
)
def test_yolov8n_costs_what_is_published(operator, parameters, gflops):
    from ultralytics.nn.modules import Conv
    from ultralytics.utils.torch_utils import fuse_conv_and_bn, get_flops

    model = build(model_config("yolov8n", operator))
    # the published numbers are cut, not rounded: 3.157 million is 3.1
    assert size(model) // 100_000 / 10 == parameters
    for module in model.modules():
        # the published layers are no Conv of ultralytics, so fuse() left their norms alone
        if type(module) is Conv:
            module.conv = fuse_conv_and_bn(module.conv, module.bn)
            del module.bn
            module.forward = module.forward_fuse
    assert round(get_flops(model, 640), 1) == gflops


@pytest.mark.parametrize("operator", OPERATORS)
def test_fuse_folds_every_norm_and_keeps_the_output(operator):
    model = agitate(build(model_config("yolov8n", operator)))
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = model(x)[0]
        model.fuse(verbose=False)
        after = model(x)[0]
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    left = [n for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    # the norm of coordinate attention stands before a nonlinearity inside the operator
    assert all("attention" in name for name in left), left
    assert len(left) == (6 if operator in ("ca", "rfca") else 0)


@pytest.mark.parametrize("operator", OPERATORS)
def test_blocks(operator):
    rows = [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 2, f"C3_{operator.upper()}", [16]],
        [-1, 2, f"C2f_{operator.upper()}", [24, True]],
        [-1, 2, f"C3k2_{operator.upper()}", [32, True, 0.5]],
    ]
    from ultralytics.nn.tasks import parse_model

    config = {"nc": 1, "depth_multiple": 1.0, "width_multiple": 1.0, "backbone": rows, "head": []}
    model, _ = parse_model(config, 3, verbose=False)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 32, 16, 16)
    kind = rfaconv.nn.CONVOLUTIONS[operator]
    # two bottlenecks in each, and in C3k2 with c3k two blocks of two
    assert [sum(isinstance(m, kind) for m in model[i].modules()) for i in (1, 2, 3)] == [2, 2, 4]
    assert type(pickle.loads(pickle.dumps(model))[2]) is type(model[2])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([-1, 1, "RFACon", [32, 3, 2]], r"layer 1 of the model YAML.*did you mean RFAConv"),
        ([-1, 1, "RFAConv", [32, 3, 0]], r"layer 1.*positive whole number for s"),
        ([-1, 1, "RFAConv", ["wide", 3, 2]], r"layer 1.*positive whole number for c2"),
        ([-1, 1, "RFAConv", [32, 3, 2, None, 1, 1, True, 9]], r"RFAConv with arguments \[c2, k"),
        ([-1, 1, "RFAConv", []], r"RFAConv with arguments"),
        ([-1, 1, "C2f_RFA", [32, True, 1, 3.0]], r"number in \(0, 1\] for e"),
        ([-1, 1, "RFAConv"], r"\[from, repeats, module, \[arguments\]\]"),
    ],
)
def test_bad_rows(row, said):
    from ultralytics.nn.tasks import parse_model

    rows = [[-1, 1, "Conv", [16, 3, 2]], row]
    with pytest.raises(InvalidArgument, match=said):
        parse_model({"nc": 1, "backbone": rows, "head": []}, 3, False)


def test_names(tmp_path, monkeypatch):
    from ultralytics import YOLO

    yolo = YOLO("yolov8s-rfcbam.yaml")
    assert type(yolo.model.model[1]).__name__ == "RFCBAMConv"
    assert yolo.model.model[1].conv.out_channels == 64  # of the size s
    with pytest.raises(InvalidArgument, match="did you mean rfa"):
        YOLO("yolov8n-rfaa.yaml")
    with pytest.raises(InvalidArgument, match="network: expected one of"):
        YOLO("yolov99n-rfa.yaml")
    with pytest.raises(InvalidArgument, match="operator"):
        model_config("yolov8n", "rfc")
    # a file goes before the name
    monkeypatch.chdir(tmp_path)
    write_model_yaml("yolov8n", "cam").rename("yolov8n-rfa.yaml")
    assert type(YOLO("yolov8n-rfa.yaml").model.model[1]).__name__ == "CAMConv"


def test_a_standalone_file_registers_by_itself(tmp_path):
    path = write_model_yaml("yolov7-tiny", "rfca", tmp_path, standalone=True)
    code = (
        "import sys; from ultralytics import YOLO; assert 'rfaconv' not in sys.modules;"
        f"m = YOLO({str(path)!r}).model.model;"
        "print(type(m[5]).__name__, m[5].act, m[4].act.negative_slope)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        encoding="utf-8",
        env=dict(os.environ),
    )
    assert "RFCAConv LeakyReLU(negative_slope=0.1) 0.1" in done.stdout


@pytest.mark.parametrize("safe", [False, True])
def test_a_checkpoint_loads_in_a_new_process(tmp_path, safe):
    from ultralytics import YOLO

    torch.manual_seed(1)
    yolo = YOLO("yolo11n-rfca.yaml")
    yolo.model.model[0].bn.running_mean.fill_(0.5)
    path = tmp_path / "model.pt"
    yolo.save(path)
    code = (
        "import torch; from ultralytics import YOLO;"
        + ("import rfaconv; rfaconv.register('ultralytics');" if safe else "")
        + f"m = YOLO({str(path)!r}).model.float().eval();"
        "print(m(torch.full((1, 3, 64, 64), 0.5))[0].sum().item())"
    )
    environment = {**os.environ, "ULTRALYTICS_SAFE_LOAD": str(int(safe))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env=environment,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    # ultralytics saves half precision
    model = yolo.model.half().float().eval()
    expected = model(torch.full((1, 3, 64, 64), 0.5))[0].sum().item()
    assert float(done.stdout.split()[-1]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "ca"])
def test_convert_keeps_the_function_and_reaches_the_training(operator):
    from ultralytics import YOLO

    yolo = YOLO("yolov8n.yaml")
    agitate(yolo.model)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = yolo.model(x)[0]
        report = convert(yolo, operator)
        torch.testing.assert_close(yolo.model(x)[0], before, rtol=1e-3, atol=2e-3)
        assert len(report.replaced) == 6
        # what YOLO.train does: the configuration, then the weights that fit
        rebuilt = build(yolo.model.yaml)
        rebuilt.load(yolo.model)
        torch.testing.assert_close(rebuilt.eval()(x)[0], before, rtol=1e-3, atol=2e-3)
    assert yolo.ckpt


def test_convert_refuses_a_fused_model():
    from ultralytics import YOLO

    yolo = YOLO("yolov8n.yaml")
    yolo.fuse()
    with pytest.raises(InvalidArgument, match=r"before fuse\(\)"):
        convert(yolo, "rfa")
    with pytest.raises(InvalidArgument, match=r"an ultralytics\.YOLO"):
        convert(torch.nn.Conv2d(3, 3, 3), "rfa")


def test_the_state_of_a_multi_gpu_training_brings_the_operators(tmp_path):
    """What a child process unpickles is enough to build the model from its name."""
    cloudpickle = pytest.importorskip("cloudpickle")
    from ultralytics.utils.callbacks.base import get_default_callbacks

    path = tmp_path / "state.pt"
    torch.save({"callbacks": get_default_callbacks()}, path, pickle_module=cloudpickle)
    code = (
        "import sys; from ultralytics.utils.patches import torch_load;"
        f"torch_load({str(path)!r}, map_location='cpu');"
        "from ultralytics.nn.tasks import DetectionModel;"
        "print(type(DetectionModel('yolov8n-rfa.yaml', verbose=False).model[1]).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout.strip().endswith("RFAConv"), done.stderr


def test_trainers_build_the_same_network_without_registration():
    from rfaconv.integrations.ultralytics.trainers import TRAINERS, OperatorTrainer

    rfaconv.unregister("ultralytics")
    trainer = object.__new__(TRAINERS["rfa"])
    assert isinstance(trainer, OperatorTrainer)
    trainer.args = types.SimpleNamespace()
    trainer.data = {"nc": 80, "channels": 3}
    model = trainer.get_model("yolov8n.yaml", verbose=False)
    kinds = [n for n, m in model.named_modules() if isinstance(m, rfaconv.RFAConv2d)]
    assert kinds == [f"model.{i}.conv" for i in (1, 3, 5, 7, 16, 19)]
    again = trainer.get_model("yolov8n.yaml", weights=model, verbose=False)
    for ours, theirs in zip(again.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
