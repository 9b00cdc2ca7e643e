"""Checkpoints of whole published networks load by their own names, or fail without a trace."""

import re

import pytest
import timm
import torch
from torch import nn

import rfaconv.models  # noqa: F401
from rfaconv import official
from rfaconv.errors import InvalidArgument, UnsafeCheckpoint
from rfaconv.nn import CONVOLUTIONS
from rfaconv.variants import OPERATORS

# our names of a layer's tensors -> the published ones (state-dict layout of the authors' code)
PUBLISHED = {
    "rfa": {
        r"attention_weight": "get_weight.1.weight",
        r"feature_weight": "generate_feature.0.weight",
        r"feature_norm\.": "generate_feature.1.",
    },
    "rfcbam": {
        r"feature_weight": "generate.0.weight",
        r"feature_norm\.": "generate.1.",
        r"spatial_weight": "get_weight.0.weight",
        r"se\.fc1\.": "se.fc.0.",
        r"se\.fc2\.": "se.fc.2.",
    },
    "rfca": {
        r"feature_weight": "generate.0.weight",
        r"feature_norm\.": "generate.1.",
        r"attention\.": "",
    },
    "cam": {r"attention\.fc1\.": "mlp.0.", r"attention\.fc2\.": "mlp.2."},
    "ca": {r"attention\.": ""},
}
PUBLISHED["cbam"] = {**PUBLISHED["cam"], r"attention\.spatial\.": "spatital."}


def published_state(model, operator):
    state = model.state_dict()
    names = [n for n, m in model.named_modules() if isinstance(m, CONVOLUTIONS[operator])]
    renamed = {}
    for key, value in state.items():
        owner = next((n for n in names if key.startswith(n + ".")), None)
        if owner is not None:
            rest = key[len(owner) + 1 :]
            if rest in ("weight", "bias"):
                rest = f"conv.0.{rest}"
            for ours, theirs in PUBLISHED[operator].items():
                rest = re.sub(f"^{ours}", theirs, rest)
            key = f"{owner}.{rest}"
        renamed[key] = value
    return renamed


def make(operator, **kwargs):
    model = timm.create_model(f"{operator}_resnet18", num_classes=4, **kwargs)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def equal(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("operator", OPERATORS)
def test_published_names_load_by_plain_load_state_dict(operator):
    source, target = make(operator), make(operator)
    state = published_state(source, operator)
    theirs = set(PUBLISHED[operator].values()) - {""}
    assert all(any(name in key for key in state) for name in theirs)
    assert set(state) & set(source.state_dict()) < set(source.state_dict())
    assert not equal(source, target)
    assert str(target.load_state_dict(state)) == "<All keys matched successfully>"
    assert equal(source, target)


def test_expected_keys_of_a_published_network():
    state = published_state(make("rfa"), "rfa")
    layer = "layer2.0.conv1."
    assert state[layer + "get_weight.1.weight"].shape == (576, 1, 1, 1)
    assert state[layer + "generate_feature.0.weight"].shape == (576, 1, 3, 3)
    assert state[layer + "generate_feature.1.running_var"].shape == (576,)
    assert state[layer + "conv.0.weight"].shape == (128, 64, 3, 3)
    assert state[layer + "conv.0.bias"].shape == (128,)
    assert {"conv1.weight", "layer2.0.downsample.1.bias", "fc.bias"} <= set(state)


def as_trained(state):
    """As the authors' trainer writes ``latest.pth`` after thop looked at the network."""
    state = {f"module.{key.replace('.se.fc', '.cam.fc')}": value for key, value in state.items()}
    state["module.total_ops"] = torch.zeros(1)
    state["module.layer1.0.conv1.total_params"] = torch.zeros(1)
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1}]}
    return {
        "epoch": 100,
        "acc1": 71.2,
        "model_state_dict": state,
        "optimizer_state_dict": optimizer,
    }


@pytest.mark.parametrize("operator", ["rfa", "rfcbam", "rfca", "cbam"])
@pytest.mark.parametrize("form", ["plain", "trainer", "safetensors"])
def test_load(tmp_path, operator, form):
    from safetensors.torch import save_file

    source, target = make(operator), make(operator)
    state = published_state(source, operator)
    file = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, str(file))
    else:
        torch.save(state if form == "plain" else as_trained(state), file)
    assert official.load(target, file) is target
    assert equal(source, target)
    assert official.load(target, str(file)) is target


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    state = published_state(make("rfa"), "rfa")
    first = next(iter(state))
    wrong = dict(state)
    wrong["fc.weight"] = torch.zeros(7, 512)
    short = {key: value for key, value in state.items() if key != first}
    contents = {
        "shapes.pth": wrong,
        "short.pth": short,
        "long.pth": {**state, "extra.weight": torch.zeros(1)},
        "other.pth": published_state(make("rfca"), "rfca"),
        "list.pth": [1, 2],
        "empty.pth": {},
        "whole.pth": nn.Sequential(nn.Linear(2, 2)),
    }
    for name, content in contents.items():
        torch.save(content, folder / name)
    (folder / "text.pth").write_text("not a checkpoint", encoding="utf-8")
    (folder / "zero.pth").write_bytes(b"")
    (folder / "text.safetensors").write_text("not a checkpoint either", encoding="utf-8")
    whole = (folder / "short.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.save(nn.Linear(2, 2), folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("absent.pth", InvalidArgument, "path: expected an existing file, got .*absent.pth"),
        ("shapes.pth", InvalidArgument, r"shapes, got size mismatch for fc\.weight"),
        ("short.pth", InvalidArgument, r"got 1 missing \(conv1\.weight\) and 0 unknown"),
        ("long.pth", InvalidArgument, r"got 0 missing and 1 unknown \(extra\.weight\)"),
        ("other.pth", InvalidArgument, r"got 48 missing .* and \d+ unknown"),
        ("list.pth", InvalidArgument, "expected a state dict"),
        ("empty.pth", InvalidArgument, "expected a file with tensors"),
        ("whole.pth", UnsafeCheckpoint, "reading it would run code from the file"),
        ("old.pth", UnsafeCheckpoint, "save model.state_dict"),
        ("text.pth", InvalidArgument, "expected a PyTorch checkpoint"),
        ("zero.pth", InvalidArgument, "expected a PyTorch checkpoint"),
        ("cut.pth", InvalidArgument, "expected a PyTorch checkpoint"),
        ("text.safetensors", InvalidArgument, "expected a safetensors file"),
    ],
)
def test_bad_files_change_nothing(damaged, name, error, message):
    model = make("rfa")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(error, match=message) as raised:
        official.load(model, damaged / name)
    assert "\n" not in str(raised.value)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def _freed(tensor):
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.to("meta"), "expected tensors with data, got {} on the meta device"),
        (_freed, "expected tensors with data, got {}, whose storage was freed"),
        (lambda t: t.to_sparse(), "expected plain tensors of real numbers, got {} of"),
        (lambda t: t.to(torch.complex64), "expected plain tensors of real numbers, got {} of"),
    ],
    ids=["meta", "freed", "sparse", "complex"],
)
@pytest.mark.parametrize("where", [0, 40, -1])
def test_tensors_that_cannot_be_copied_change_nothing(where, spoil, message):
    model = make("rfa")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {key: value + 1 for key, value in before.items()}
    names = [key for key, value in state.items() if value.dim() > 0]
    state[names[where]] = spoil(state[names[where]])
    with pytest.raises(InvalidArgument, match=re.escape(message.format(names[where]))):
        official.load(model, state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_no_code_runs(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"model_state_dict": {}, "trap": Trap()}, tmp_path / "best.pth")
    with pytest.raises(UnsafeCheckpoint):
        official.load(make("rfa"), tmp_path / "best.pth")
    assert not (tmp_path / "sprung").exists()
