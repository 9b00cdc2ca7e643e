"""The published layers' own numbers: outputs, every gradient, running statistics."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from rfaconv import official
from rfaconv.errors import InvalidArgument

KINDS = {
    "rfaconv_classification",
    "rfaconv_model",
    "rfaconv_unfold",
    "rfcbamconv_model",
    "rfcaconv_model",
    "cbamconv_yolov5",
    "camconv_yolov5",
    "caconv_yolov5",
}


def read(path: Path):
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, file.metadata()


def part(tensors, prefix):
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def published_names(layer, keys):
    """Which parameter or buffer of ours each published key is, by a value that marks it."""
    marked = {key: torch.full_like(value, i + 1) for i, (key, value) in enumerate(keys.items())}
    layer.load_state_dict(marked)
    by_mark = {int(v.flatten()[0]): k for k, v in layer.state_dict().items() if v.numel()}
    return {key: by_mark[i + 1] for i, key in enumerate(keys)}


def check(path):
    tensors, meta = read(path)
    state = part(tensors, "state/")
    layer = official.from_state_dict(state, stride=int(meta["stride"]))
    names = published_names(layer, state)
    layer.load_state_dict(state)

    def close(actual, expected, what):
        error = (actual - expected).abs().max()
        assert error <= 1e-10, f"{what}: {error:.2e}"

    close(layer.eval()(tensors["input"]), tensors["eval/output"], "eval output")
    with torch.no_grad():
        close(layer(tensors["input"]), tensors["eval/output"], "eval output without gradients")
    x = tensors["input"].clone().requires_grad_()
    y = layer.train()(x)
    close(y, tensors["train/output"], "train output")
    y.backward(tensors["train/grad_output"])
    close(x.grad, tensors["train/grad_input"], "gradient of the input")
    gradients = part(tensors, "train/grad/")
    parameters = dict(layer.named_parameters())
    assert {names[k] for k in gradients} == set(parameters)
    for key, expected in gradients.items():
        close(parameters[names[key]].grad, expected.view_as(parameters[names[key]]), key)
    updated = part(tensors, "train/updated/")
    assert updated
    buffers = dict(layer.named_buffers())
    for key, expected in updated.items():
        close(buffers[names[key]].double(), expected.double(), key)


def test_all_kinds_are_there(shared):
    found = {read(path)[1]["operator"] for path in (shared / "golden").glob("*.safetensors")}
    assert found == KINDS


def pytest_generate_tests(metafunc):
    if "golden" in metafunc.fixturenames:
        import os

        root = Path(__file__).resolve().parents[3] / "shared"
        folder = Path(os.environ.get("RFACONV_SHARED", root)) / "golden"
        files = sorted(folder.glob("*.safetensors"))
        reason = "needs the shared folder with golden vectors beside the project"
        absent = [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
        metafunc.parametrize("golden", [pytest.param(f, id=f.stem) for f in files] or absent)


def test_layer(golden):
    check(golden)


def test_prefixes_and_counters_of_tools_are_ignored(shared):
    path = shared / "golden" / "rfaconv_model-k3s1-2x4x7x6-o6.safetensors"
    tensors, _ = read(path)
    state = {f"module.{k}": v for k, v in part(tensors, "state/").items()}
    state |= {"module.total_ops": torch.zeros(1), "module.conv.total_params": torch.zeros(1)}
    layer = official.from_state_dict(state).eval()
    torch.testing.assert_close(layer(tensors["input"]), tensors["eval/output"])


def test_trained_checkpoints_call_the_squeeze_cam(shared):
    path = shared / "golden" / "rfcbamconv_model-k3s1-2x4x7x6-o6.safetensors"
    tensors, _ = read(path)
    state = {k.replace("se.fc", "cam.fc"): v for k, v in part(tensors, "state/").items()}
    layer = official.from_state_dict(state).eval()
    torch.testing.assert_close(layer(tensors["input"]), tensors["eval/output"])


def test_unknown_keys_are_refused():
    with pytest.raises(InvalidArgument, match=r"state: expected the keys of a published .*foo"):
        official.from_state_dict({"foo": torch.zeros(1)})


def test_an_incomplete_state_is_refused(shared):
    path = shared / "golden" / "rfaconv_model-k3s1-2x4x7x6-o6.safetensors"
    state = part(read(path)[0], "state/")
    del state["conv.0.bias"], state["generate_feature.1.running_var"]
    with pytest.raises(InvalidArgument, match=r"complete state of rfa.*running_var"):
        official.from_state_dict(state)
