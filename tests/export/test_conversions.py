"""Converted networks of five libraries, saved and read again by a new process."""

import copy
import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from torch import nn

import rfaconv
from rfaconv.errors import InvalidArgument
from rfaconv.export import from_pretrained, save_pretrained
from rfaconv.variants import OPERATORS

SIZE = (64, 64)
NARROW = {"channels": (8, 8, 8, 16), "num_classes": 3}


def smp():
    library = pytest.importorskip("segmentation_models_pytorch")
    settings = {"encoder_weights": None, "classes": 2, "encoder_depth": 3}
    return library.Unet("resnet18", decoder_channels=(16, 8, 8), **settings)


def ultralytics():
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    return tasks.DetectionModel("yolov8n.yaml", nc=2, verbose=False)


def transformers():
    library = pytest.importorskip("transformers")
    config = library.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    return library.ResNetForImageClassification(config)


NETWORKS = {
    "timm": lambda: timm.create_model("resnet18", **NARROW),
    "timm-mobilenet": lambda: timm.create_model("mobilenetv3_small_050", num_classes=3),
    "torchvision": lambda: torchvision.models.squeezenet1_1(num_classes=3),
    "smp": smp,
    "ultralytics": ultralytics,
    "transformers": transformers,
}
NAMES = {"torchvision": {"architecture": "torchvision:squeezenet1_1",
                         "arguments": {"num_classes": 3}}}  # fmt: skip
READ = """
import sys, torch
from pathlib import Path
from rfaconv.export import from_pretrained
for folder in sorted(p for p in Path(sys.argv[1]).iterdir() if p.is_dir()):
    expected = torch.load(folder.with_suffix(".pt"), weights_only=True)
    with torch.no_grad():
        found = from_pretrained(folder)(expected["x"])
    while not isinstance(found, torch.Tensor):
        found = found[0]
    scale = expected["y"].abs().max()
    print(folder.name, float((found - expected["y"]).abs().max() / scale))
"""


def output(network, x):
    with torch.no_grad():
        found = network.eval()(x)
    while not isinstance(found, torch.Tensor):
        found = found[0]
    return found


def shaken(network):
    """Weights and statistics that no construction starts with."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point() and not name.endswith("dfl.conv.weight"):
                value.mul_(1 + 0.1 * torch.rand(value.shape))
    return network.eval()


@pytest.mark.parametrize("library", NETWORKS)
@pytest.mark.parametrize("operator", ["rfca", "cam"])
def test_every_library_reads_its_own(library, operator, tmp_path):
    network = shaken(NETWORKS[library]())
    rfaconv.convert_(network, operator)
    rfaconv.fuse(shaken(network))
    folder = tmp_path / "made"
    save_pretrained(network, folder, input_size=SIZE, **NAMES.get(library, {}))
    x = torch.rand(2, 3, *SIZE)
    assert torch.equal(output(from_pretrained(folder), x), output(network, x))


def test_a_yolo_object(tmp_path):
    library = pytest.importorskip("ultralytics")
    yolo = library.YOLO("yolov8n.yaml", verbose=False)
    rfaconv.convert_(yolo, "rfa", rfaconv.where.downsampling)
    folder = save_pretrained(yolo, tmp_path / "made", input_size=SIZE)
    network = from_pretrained(folder)
    assert network.pretrained_cfg["label_names"][:1] == ["0"]
    x = torch.rand(2, 3, *SIZE)
    assert torch.equal(output(network, x), output(yolo.model, x))


@pytest.mark.nightly
@pytest.mark.parametrize("library", NETWORKS)
def test_a_new_process_reads_the_same_network(library, tmp_path):
    torch.manual_seed(0)
    plain = shaken(NETWORKS[library]())
    x = torch.rand(2, 3, *SIZE)
    saved = 0
    for operator in OPERATORS:
        network = copy.deepcopy(plain)
        init = "preserve" if operator in ("rfa", "ca") else "fresh"
        rfaconv.convert_(network, operator, rfaconv.where.spatial, init, calibration_of(init, x))
        shaken(network)
        for fused in (False, True):
            if fused:
                network = rfaconv.fuse(network)
            folder = tmp_path / f"{operator}-{fused}"
            save_pretrained(network, folder, input_size=SIZE, **NAMES.get(library, {}))
            torch.save({"x": x, "y": output(network, x)}, folder.with_suffix(".pt"))
            saved += 1
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    errors = dict(line.split() for line in done.stdout.splitlines())
    assert len(errors) == saved == 12
    assert max(map(float, errors.values())) <= 1e-6, errors


def calibration_of(init, x):
    return None if init == "fresh" else [x]


def test_replay_from_a_description_and_a_state():
    plain = NETWORKS["timm"]()
    network = copy.deepcopy(plain)
    rfaconv.convert_(network, "rfcbam", "layer1.*", "preserve")
    rfaconv.convert_(network, "rfca", "layer2.0.conv2", bias=True)
    description = rfaconv.conversion_of(network)
    assert {entry["init"] for entry in description["layers"].values()} == {"fresh", "preserve"}
    again = rfaconv.converted_like(copy.deepcopy(plain), description)
    again.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, *SIZE)
    assert torch.equal(output(again, x), output(network, x))
    assert rfaconv.conversion_of(again) == description
    # a second replay finds its layers there
    assert rfaconv.conversion_of(rfaconv.converted_like(again, description)) == description


def test_pickles_carry_the_description(tmp_path):
    network = nn.Sequential(nn.ReLU(), nn.Conv1d(3, 4, 3))
    rfaconv.convert_(network, "rfa", init="preserve")
    torch.save(network, tmp_path / "whole.pt")
    loaded = torch.load(tmp_path / "whole.pt", weights_only=False)
    description = loaded.rfaconv_conversion
    assert description == rfaconv.conversion_of(network)
    assert description["layers"]["1"]["init"] == "preserve"
    again = rfaconv.converted_like(nn.Sequential(nn.ReLU(), nn.Conv1d(3, 4, 3)), description)
    again.load_state_dict(loaded.state_dict())


@pytest.mark.parametrize("library", ["timm", "transformers"])
@pytest.mark.parametrize("fused", [False, True])
def test_savers_of_other_libraries_carry_the_description(library, fused, tmp_path):
    network = shaken(NETWORKS[library]())
    rfaconv.convert_(network, "rfcbam")
    shaken(network)
    if fused:
        rfaconv.fuse(network)
    if library == "timm":
        timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    else:
        network.save_pretrained(tmp_path)
    x = torch.rand(2, 3, *SIZE)
    assert torch.equal(output(from_pretrained(tmp_path), x), output(network, x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["layers"].update(gone=d["layers"]["1"]), "a network with a convolution gone"),
        (lambda d: d["layers"]["1"].update(stride=[2, 2]), r"stride \[2, 2\] at 1"),
        (lambda d: d["layers"]["1"].update(operator="se"), "description: expected what"),
        (lambda d: d["layers"]["1"].pop("groups"), "description: expected what"),
        (lambda d: d.update(layers=[]), "description: expected what"),
        (lambda d: d.update(format=2), r"of format 1, got format 2"),
    ],
)
def test_descriptions_that_do_not_fit_change_nothing(change, message):
    def plain():
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))

    network = plain()
    rfaconv.convert_(network, "rfa")
    description = rfaconv.conversion_of(network)
    change(description)
    model = plain()
    with pytest.raises(InvalidArgument, match=message):
        rfaconv.converted_like(model, description)
    assert [type(m) for m in model] == [nn.Conv2d] * 3
    assert not hasattr(model, "rfaconv_conversion")
