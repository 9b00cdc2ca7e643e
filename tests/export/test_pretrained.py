"""Folders that timm and rfaconv read, and what is refused before one is made."""

import json

import pytest
import timm
import torch
from torch import nn

import rfaconv
import rfaconv.models
from rfaconv.errors import InvalidArgument
from rfaconv.export import Source, from_pretrained, push_to_hub, save_pretrained
from rfaconv.lab import load_source
from rfaconv.lab.networks.classifiers import build_network

TINY = {"channels": [8, 8, 16, 16]}


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = timm.create_model("rfa_resnet18", num_classes=3, in_chans=1, **TINY).eval()
    nn.init.normal_(made.layer1[0].conv1.attention_weight)
    return made


def outputs(network, size=32, channels=1):
    x = torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network.eval()(x)


def test_timm_and_rfaconv_read_the_folder(network, tmp_path):
    folder = save_pretrained(
        network, tmp_path / "made", classes=["sea", "wälder", "ice"], mean=[0.4], std=[0.2],
        input_size=(48, 40), arguments=TINY,
    )  # fmt: skip
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [folder]
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True)
    config = by_timm.pretrained_cfg
    assert tuple(config["label_names"]) == ("sea", "wälder", "ice")
    assert (tuple(config["mean"]), tuple(config["std"])) == ((0.4,), (0.2,))
    source = load_source(folder)
    assert (source.classes, source.mean, source.std) == (("sea", "wälder", "ice"), (0.4,), (0.2,))
    assert (source.input_size, source.channels) == ((48, 40), 1)
    for found in (by_timm, source.network, from_pretrained(folder)):
        assert torch.equal(outputs(found), outputs(network))


def test_a_new_head(network, tmp_path):
    folder = save_pretrained(network, tmp_path / "made", arguments=TINY)
    assert outputs(from_pretrained(folder, num_classes=7)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "operator", "size", "channels"),
    [("small", "rfca", 28, 1), ("small", "conv", 64, 3), ("resnet18", "rfa", 48, 3)],
)
def test_networks_of_runs(name, operator, size, channels, tmp_path):
    network = build_network(
        name, operator, classes=4, channels=channels, image_size=size, seed=0
    ).eval()
    source = Source(
        network, "run", (size, size), channels, mean=(0.5,) * channels, std=(0.2,) * channels,
        architecture="fitted_resnet",
        arguments={"layout": name, "operator": operator, "image_size": size, "bias": False},
    )  # fmt: skip
    folder = save_pretrained(source, tmp_path / "made")
    found = outputs(from_pretrained(folder), size, channels)
    assert torch.equal(found, outputs(network, size, channels))


@pytest.mark.parametrize("init", ["fresh", "preserve"])
@pytest.mark.parametrize("architecture", [None, "rfa_resnet18"])
def test_a_converted_network_by_either_name(init, architecture, tmp_path):
    network = timm.create_model("resnet18", num_classes=3, **TINY)
    rfaconv.convert_(network, "rfa", where=rfaconv.where.basic_block_conv1, init=init)
    folder = save_pretrained(network, tmp_path / "made", architecture=architecture, arguments=TINY)
    assert torch.equal(outputs(from_pretrained(folder), channels=3), outputs(network, channels=3))
    # timm alone would build another network: it refuses
    with pytest.raises((KeyError, TypeError, RuntimeError)):
        timm.create_model(f"local-dir:{folder}", pretrained=True)
    again = save_pretrained(load_source(folder), tmp_path / "again")
    assert torch.equal(outputs(from_pretrained(again), channels=3), outputs(network, channels=3))
    assert from_pretrained(again, num_classes=5).num_classes == 5


def test_a_published_name_needs_no_description(tmp_path):
    network = timm.create_model("resnet18", num_classes=3, **TINY)
    rfaconv.convert_(network, "rfa", where=rfaconv.where.basic_block_conv1, bias=True)
    folder = save_pretrained(
        network, tmp_path / "made", architecture="rfa_resnet18", arguments=TINY
    )
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(outputs(by_timm, channels=3), outputs(network, channels=3))
    again = save_pretrained(load_source(folder), tmp_path / "again")
    found = timm.create_model(f"local-dir:{again}", pretrained=True)
    assert torch.equal(outputs(found, channels=3), outputs(network, channels=3))


def test_another_network_of_converted_layers_is_refused(tmp_path):
    network = timm.create_model("resnet18", num_classes=3, **TINY)
    rfaconv.convert_(network, "rfa", where=rfaconv.where.basic_block_conv1)
    with pytest.raises(InvalidArgument, match=r"'resnet34': .*layer1\.2"):
        save_pretrained(network, tmp_path / "made", architecture="resnet34", arguments=TINY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"", r"place: expected a readable config\.json"),
        ("config.json", b"[" * 100_000, r"place: expected a readable config\.json"),
        ("config.json", b"[]", r"place: expected an object in config\.json"),
        ("config.json", b"{}", r"place: expected a config\.json that says how"),
        ("config.json", b'{"rfaconv": 3}', r"place: expected a config\.json that says how"),
        ("model.safetensors", b"", r"place: expected a readable model\.safetensors"),
        ("model.safetensors", b"\xff" * 64, r"place: expected a readable model\.safetensors"),
        ("model.safetensors", None, r"place: expected a readable model\.safetensors"),
    ],
)
@pytest.mark.parametrize("converted", [False, True])
def test_damaged_folders_are_one_line(file, content, message, converted, network, tmp_path):
    if converted:
        network = timm.create_model("resnet18", num_classes=3, **TINY)
        rfaconv.convert_(network, "rfa", where=rfaconv.where.basic_block_conv1)
    folder = save_pretrained(network, tmp_path / "made", arguments=TINY)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    for read in (from_pretrained, load_source):
        with pytest.raises(InvalidArgument, match=message) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_a_network_of_the_same_weights_that_computes_otherwise_is_refused(network, tmp_path):
    network.maxpool = nn.Identity()
    with pytest.raises(InvalidArgument, match="outputs differ"):
        save_pretrained(network, tmp_path / "made", arguments=TINY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["a"]}, "classes: expected 3 names, got 1"),
        ({"mean": (0.1, 0.2)}, "mean: expected 1 numbers, got 2"),
        ({"architecture": "resnet19"}, "architecture: expected the name"),
    ],
)
def test_arguments_that_do_not_fit(settings, message, network, tmp_path):
    with pytest.raises(InvalidArgument, match=message):
        save_pretrained(network, tmp_path / "made", **{"arguments": TINY, **settings})
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(network, tmp_path):
    (tmp_path / "made").mkdir()
    with pytest.raises(InvalidArgument, match="folder: expected one that does not exist"):
        save_pretrained(network, tmp_path / "made", arguments=TINY)
    with pytest.raises(InvalidArgument, match="in a folder that exists"):
        save_pretrained(network, tmp_path / "no" / "made", arguments=TINY)


def test_no_part_of_a_folder_is_left(network, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("timm.models.save_for_hf", fail)
    with pytest.raises(OSError, match="disk full"):
        save_pretrained(network, tmp_path / "made", arguments=TINY)
    assert not list(tmp_path.iterdir())


def test_what_is_no_folder_of_a_network(tmp_path):
    with pytest.raises(InvalidArgument, match=r"place: expected a folder with config\.json"):
        from_pretrained(tmp_path)
    with pytest.raises(InvalidArgument, match=r"no config\.json"):
        push_to_hub(tmp_path, "me/net")


def test_push(network, tmp_path, monkeypatch):
    sent = []

    class Hub:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repository, private, exist_ok):
            sent.append(("make", self.token, repository, private, exist_ok))
            return type("Made", (), {"repo_id": f"owner/{repository}"})

        def upload_folder(self, repo_id, folder_path, commit_message):
            config = json.loads((folder_path / "config.json").read_text(encoding="utf-8"))
            sent.append(("send", repo_id, config["architecture"], commit_message))

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    folder = save_pretrained(network, tmp_path / "made", card="# ours\n", arguments=TINY)
    assert (folder / "README.md").read_text(encoding="utf-8") == "# ours\n"
    assert push_to_hub(folder, "net", token="t", private=True) == "hf-hub:owner/net"
    assert sent == [
        ("make", "t", "net", True, True),
        ("send", "owner/net", "rfa_resnet18", "Add network"),
    ]
