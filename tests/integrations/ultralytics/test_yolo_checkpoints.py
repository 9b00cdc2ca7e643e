"""Checkpoints of other people: read without running them, computed as before, converted."""

from __future__ import annotations

import builtins
import copy
import os
import pickle
import sys
import types
import zipfile

import pytest
import torch
from fork_layers import LAYERS, as_fork

from rfaconv import official
from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics import checkpoints, model_config
from rfaconv.integrations.ultralytics.checkpoints import build, read_checkpoint, write_checkpoint
from rfaconv.official.inert import read_inert

PLACES = {"down": "RFAConv", "blocks": "C2f_RFAConv"}


def agitate(network):
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
            for tensor in (module.running_var, module.weight.data):
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


def make_fork(operator, kind, at="down"):
    """A network of three classes as a fork would train it, and its output."""
    from ultralytics.nn.tasks import DetectionModel

    config = {**model_config("yolov8n", operator, at), "nc": 3}
    network = agitate(as_fork(DetectionModel(config, verbose=False), operator, kind))
    network.names = {0: "red", 1: "white", 2: "platelet"}
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        return network, x, network(x)[0]


def save_as_fork(network, path, monkeypatch):
    """Writes a checkpoint whose classes are of a module that only the fork has."""
    name = "ultralytics.nn.extra_modules.RFAConv"
    module = types.ModuleType(name)
    network = copy.deepcopy(network)
    for row in [*network.yaml["backbone"], *network.yaml["head"]]:
        row[2] = row[2].replace("C2f_RFA", "C2f_RFAConv")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, name, module)
        for part in network.modules():
            kind = type(part)
            if kind.__module__ == "fork_layers" or kind.__name__ == "C2f_RFA":
                foreign = vars(module).get(kind.__name__)
                if foreign is None:
                    foreign = type(kind.__name__, (kind,), {"__module__": name})
                    setattr(module, kind.__name__, foreign)
                part.__class__ = foreign
        torch.save({"model": network, "ema": None, "train_args": {"imgsz": 64}}, path)
    assert name not in sys.modules


@pytest.mark.parametrize("kind", ["published", "fork"])
@pytest.mark.parametrize("operator", list(LAYERS))
def test_a_forks_checkpoint_gives_the_forks_outputs(operator, kind, tmp_path, monkeypatch):
    network, x, expected = make_fork(operator, kind)
    save_as_fork(network, tmp_path / "fork.pt", monkeypatch)
    read = read_checkpoint(tmp_path / "fork.pt")
    model = build(read)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[0], expected, rtol=1e-4, atol=1e-4)
    assert model.names == network.names
    assert any("extra_modules" in name for name in read.unknown)
    assert read.layers["model.1"] == type(network.model[1]).__name__


def test_a_forks_blocks_and_its_activation_reach_the_next_training(tmp_path, monkeypatch):
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    network, x, expected = make_fork("rfa", "published", "blocks")
    save_as_fork(network, tmp_path / "fork.pt", monkeypatch)
    write_checkpoint(build(read_checkpoint(tmp_path / "fork.pt")), tmp_path / "new.pt")
    model = YOLO(tmp_path / "new.pt").model
    # what a training does: the configuration, then the weights
    rebuilt = DetectionModel(model.yaml, verbose=False)
    rebuilt.load(model)
    with torch.no_grad():
        for one in (model, rebuilt.eval()):
            torch.testing.assert_close(one(x)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["published", "fork"])
def test_official_load_takes_a_forks_state_dict(kind):
    from ultralytics import YOLO

    network, x, expected = make_fork("rfa", kind)
    yolo = YOLO("yolov8n-rfa.yaml")
    with pytest.raises(InvalidArgument, match="shapes"):
        official.load(yolo, network.state_dict())  # 80 classes there, 3 here
    yolo.model = build(checkpoints.Checkpoint(network.state_dict()), "yolov8n-rfa")
    yolo.model.load_state_dict({k: torch.zeros_like(v) for k, v in yolo.model.state_dict().items()})
    official.load(yolo, network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(yolo.model(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_state_dict_needs_the_name_of_its_network(tmp_path):
    network, x, expected = make_fork("rfa", "fork")
    torch.save(network.state_dict(), tmp_path / "state.pt")
    read = read_checkpoint(tmp_path / "state.pt")
    with pytest.raises(InvalidArgument, match="network: expected a name such as yolov8n-rfa"):
        build(read)
    with torch.no_grad():
        out = build(read, "yolov8n-rfa")(x)[0]
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


class Attack:
    """What a hostile checkpoint would have run."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_write_a_file_does_not(tmp_path, protocol):
    target = tmp_path / "written"
    attacks = [
        Attack(os.system, f"touch {target}"),
        Attack(builtins.exec, f"open({str(target)!r}, 'w').close()"),
        Attack(builtins.eval, f"open({str(target)!r}, 'w').close()"),
        Attack(builtins.getattr, "text", "upper"),
        Attack(builtins.open, str(target), "w"),
    ]
    network, _, _ = make_fork("rfa", "fork")
    network.names = {0: "a", 1: "b", 2: "c"}
    network.extra = attacks
    path = tmp_path / "hostile.pt"
    torch.save({"model": network, "more": attacks}, path, pickle_protocol=protocol)
    # the attack is one: an ordinary reader runs it
    pickle.loads(pickle.dumps(attacks[0]))
    assert target.exists()
    target.unlink()
    read = read_checkpoint(path)
    build(read)
    assert not target.exists()
    assert any(name.endswith(".exec") for name in read.unknown)


def test_a_pickle_cannot_change_what_reads_it(tmp_path):
    """BUILD writes attributes into whatever the pickle names, functions of torch too."""
    path = tmp_path / "hostile.pt"
    stream = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x05\x00\x00\x00abuseK\x01s\x86b."
    stream = stream.replace(b"}X", b"N}X")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    with pytest.raises(InvalidArgument, match="must not change functions"):
        read_inert(path)
    assert not hasattr(torch._utils._rebuild_tensor_v2, "abuse")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match=r"an existing file.*absent\.pt"):
        read_checkpoint(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("a page of a web site", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"torch\.save wrote.*text\.pt"):
        read_checkpoint(tmp_path / "text.pt")
    torch.save({"epoch": 3, "optimizer": None}, tmp_path / "other.pt")
    with pytest.raises(InvalidArgument, match=r"other\.pt with epoch, optimizer"):
        read_checkpoint(tmp_path / "other.pt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"")
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(InvalidArgument, match="a TorchScript archive"):
        read_checkpoint(tmp_path / "script.pt")


def test_other_features_under_the_published_keys_are_refused(tmp_path):
    network, _, _ = make_fork("rfa", "fork")
    network.model[3].generate_feature[2] = torch.nn.SiLU()
    torch.save({"model": network}, tmp_path / "fork.pt")
    with pytest.raises(InvalidArgument, match=r"layer model\.3\.generate_feature.*ReLU.*SiLU"):
        read_checkpoint(tmp_path / "fork.pt")


def test_unknown_rows_of_a_fork_are_named(tmp_path):
    network, _, _ = make_fork("rfa", "fork")
    network.yaml["head"][2][2] = "C2f_SCcConv"
    torch.save({"model": network}, tmp_path / "fork.pt")
    with pytest.raises(InvalidArgument, match=r"layer 12 of the model YAML.*C2f_SCcConv"):
        build(read_checkpoint(tmp_path / "fork.pt"))


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("down", marks=pytest.mark.nightly),
        pytest.param("blocks", marks=pytest.mark.nightly),
        "head",
        "all",
    ],
)
def test_convert_writes_what_plain_ultralytics_opens(at, tmp_path):
    from ultralytics import YOLO

    from rfaconv.cli.main import main

    plain = YOLO("yolo11n.yaml" if at == "head" else "yolov8n.yaml")
    plain.model.args = {"task": "detect", "imgsz": 64}
    agitate(plain.model)
    with torch.no_grad():
        for key, value in plain.model.state_dict().items():
            if value.is_floating_point():
                plain.model.get_parameter(key).copy_(value.half()) if key in dict(
                    plain.model.named_parameters()
                ) else plain.model.get_buffer(key).copy_(value.half())
    plain.save(tmp_path / "best.pt")
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = plain.model.float().eval()(x)[0]
    words = ["yolo", "convert", str(tmp_path / "best.pt"), "rfa", "--at", at]
    assert main([*words, "--out", str(tmp_path / "new ü.pt")]) == 0
    new = YOLO(tmp_path / "new ü.pt")
    with torch.no_grad():
        torch.testing.assert_close(new.model(x)[0], before, rtol=1e-3, atol=2e-3)
    names = [row[2] for row in [*new.model.yaml["backbone"], *new.model.yaml["head"]]]
    assert ("RFAConv" in names) == (at in ("down", "all"))
    assert any(n.startswith(("C2f_RFA", "C3k2_RFA")) for n in names) == (at in ("blocks", "all"))
    assert ("Detect_RFA" in names) == (at in ("head", "all"))


def test_convert_refuses_before_it_writes(tmp_path, capsys):
    from rfaconv.cli.main import main

    for words, said in [
        (["absent.pt", "rfa", "--out", str(tmp_path / "a.pt")], "an existing file"),
        (["absent.pt", "rfa", "--out", str(tmp_path / "no" / "a.pt")], "a folder that exists"),
        (["absent.pt", "rfa", "--out", str(tmp_path / "a.onnx")], "a .pt file"),
    ]:
        assert main(["yolo", "convert", *words]) == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_there_is_not_replaced(tmp_path, capsys):
    """Least of all the one that is read."""
    from rfaconv.cli.main import main

    file = tmp_path / "best.pt"
    file.write_bytes(b"weeks of training")
    for words in (["convert", str(file), "rfa"], ["import", str(file)]):
        assert main(["yolo", *words, "--out", str(file)]) == 2
        assert "out: expected a file that does not exist (or --force)" in capsys.readouterr().err
    assert file.read_bytes() == b"weeks of training"
