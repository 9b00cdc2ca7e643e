"""Names and rows of blogs and forks: they load, or the answer says what to write."""

from __future__ import annotations

import pytest
import torch

import rfaconv
from rfaconv.errors import InvalidArgument
from rfaconv.integrations.ultralytics import model_config
from rfaconv.integrations.ultralytics.names import canonical, suggestions
from rfaconv.integrations.ultralytics.networks import parse_network
from rfaconv.variants import OPERATORS

# what public repositories and posts call these networks -> network, operator, positions
NETWORK_NAMES = [
    ("yolov8n-rfaconv", "yolov8n", "rfa", "down"),
    ("yolov8n-RFAConv", "yolov8n", "rfa", "down"),
    ("yolov8n_RFAConv", "yolov8n", "rfa", "down"),
    ("yolov8-RFAConv", "yolov8", "rfa", "down"),
    ("yolov8-C2f-RFAConv", "yolov8", "rfa", "blocks"),
    ("yolov8n-C2f_RFCBAMConv", "yolov8n", "rfcbam", "blocks"),
    ("yolo11-C3k2-RFCAConv", "yolo11", "rfca", "blocks"),
    ("yolov11n-rfa", "yolo11n", "rfa", "down"),
    ("yolov11n-C3k2-RFAConv", "yolo11n", "rfa", "blocks"),
    ("yolo11n-rfa-seg", "yolo11n-seg", "rfa", "down"),
    ("yolo11n-seg-rfa", "yolo11n-seg", "rfa", "down"),
    ("yolov8s-pose-rfcbam-head", "yolov8s-pose", "rfcbam", "head"),
    ("yolov5nu-rfa", "yolov5n", "rfa", "down"),
    ("yolov5s-C3-RFAConv", "yolov5s", "rfa", "blocks"),
    ("yolo8n-rfa", "yolov8n", "rfa", "down"),
    ("yolov26n-rfca-all", "yolo26n", "rfca", "all"),
    ("rtdetr-l-rfa", "rtdetr-l", "rfa", "down"),
]


@pytest.mark.parametrize(("name", "network", "operator", "at"), NETWORK_NAMES)
def test_names_of_networks(name, network, operator, at):
    from ultralytics.nn.tasks import yaml_model_load

    named = parse_network(name)
    assert named is not None
    config = yaml_model_load(f"{name}.yaml")
    expected = model_config(network, operator, at)
    assert [config["backbone"], config["head"]] == [expected["backbone"], expected["head"]]
    assert expected != model_config(network, None)


# rows of public YAMLs -> the module that they mean here
ROWS = {
    "RFAConv": "RFAConv",
    "RFAConv2d": "RFAConv",
    "RFCAConv": "RFCAConv",
    "RFCBAMConv": "RFCBAMConv",
    "RFCBAM": "RFCBAMConv",
    "CBAMConv": "CBAMConv",
    "C2f_RFAConv": "C2f_RFA",
    "C2f_RFA": "C2f_RFA",
    "C2f_RFCAConv": "C2f_RFCA",
    "C2f_RFCBAMConv": "C2f_RFCBAM",
    "C3_RFAConv": "C3_RFA",
    "C3k2_RFAConv": "C3k2_RFA",
    "C3k2_RFCBAMConv": "C3k2_RFCBAM",
    "Bottleneck_RFAConv": "Bottleneck_RFA",
    "C2_RFAConv": "C2_RFA",
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_build_what_they_mean(name):
    from ultralytics.nn.tasks import parse_model

    rows = [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, name, [32, 3, 1] if "Conv" in ROWS[name] else [32]],
    ]
    network, _ = parse_model({"nc": 1, "backbone": rows, "head": []}, 3, False)
    assert type(network[1]).__name__ == ROWS[name]
    assert network(torch.rand(1, 3, 16, 16)).shape == (1, 32, 8, 8)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("RFAC3", "C3_RFA"),
        ("RFA_C2f", "C2f_RFA"),
        ("RFAconv", "RFAConv"),
        ("C2f_RFACov", "C2f_RFA"),
        ("C3K2_RFAConv", "C3k2_RFA"),
        ("C2fRFA", "C2f_RFA"),
        ("C3k_RFAConv", "C3k2_RFA"),
        ("RFCBAM_Neck", "RFCBAMConv"),
        ("RFAConv1d", "RFAConv"),
        ("DetectRFA", "Detect_RFA"),
        ("CSP_RFA", "RFAConv"),
        ("CBAM", "CBAMConv"),
        ("rfca", "RFCAConv"),
        ("C2F", "C2f"),
    ],
)
def test_near_names_are_ranked(name, first):
    from ultralytics.nn.tasks import parse_model

    assert canonical(name) is None
    assert suggestions(name, ["Conv", "C2f", "C3"])[0] == first
    rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, name, [32]]]
    with pytest.raises(InvalidArgument, match=rf"layer 1 of.*did you mean {first}\b"):
        parse_model({"nc": 1, "backbone": rows, "head": []}, 3, False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("yolov8n-rfaa.yaml", "operator: expected one of rfa.*did you mean rfa"),
        ("yolov99n-rfa.yaml", "network: expected one of"),
        (
            "yolov8n-rfa-neck.yaml",
            r"expected yolov8n, with a task .* position \(down, blocks, head",
        ),
        ("yolo11n-seg-p9-rfa.yaml", "expected yolo11n-seg, with"),
        ("rtdetr-r18-RFAConv.yaml", "one of .* rtdetr-l, rtdetr-resnet50"),
        ("yolov8n-rfa.pt", "no published weights of yolov8n-rfa.*rfaconv yolo convert yolov8n.pt"),
        ("rtdetr-l-rfa-head.yaml", "network that ends in one of Detect"),
        ("yolov7-tiny-rfa-blocks.yaml", "rows of C3, C2f, C3k2"),
    ],
)
def test_answers_to_other_names(name, said):
    from ultralytics import YOLO

    with pytest.raises(InvalidArgument, match=said):
        YOLO(name)


def test_a_name_without_its_ending_is_a_new_network():
    from ultralytics import YOLO

    yolo = YOLO("yolov11n-rfa-seg")
    assert yolo.task == "segment"
    assert type(yolo.model.model[1]).__name__ == "RFAConv"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([-1, 1, "RFAConv", [32, 3, 2, -5]], "None or a whole number of 0 or more for p"),
        ([-1, 1, "RFAConv", [32, [3, 3, 3], 2]], "one number or two for k"),
        ([-1, 1, "RFAConv", [32, 3, 1, None, 1, 1, "Relu"]], "activation of torch.nn.*for act"),
        ([-1, 1, "RFAConv", [32, 3, 1, None, 1, 1, "__import__('os')"]], "for act"),
        ([-1, 1, "C2f_RFA", [32, True, 1, 0.5, 1, 1]], r"C2f_RFA with arguments \[c2, shortcut"),
        ([-1, 1, "RFAConv", [32, 3, 1, None, 5]], r"layer 1 of.*RFAConv"),
    ],
)
def test_refused_rows(row, said):
    from ultralytics.nn.tasks import parse_model

    rows = [[-1, 1, "Conv", [16, 3, 2]], row]
    with pytest.raises(InvalidArgument, match=said):
        parse_model({"nc": 1, "backbone": rows, "head": []}, 3, False)


@pytest.mark.parametrize(
    "arguments",
    [
        [32],
        [32, 3, [2, 1]],
        [32, [1, 3], 1, [0, 1]],
        ["nc", 3, 2],
        [32, 3, 2, None, 1, 2],
        [32, 3, 1, None, 2],
        [32, 3, 1, None, 1, 1, False],
        [32, 3, 1, None, 1, 1, "ReLU"],
        [32, 3, 1, None, 1, 1, "nn.ReLU()"],
        [32, 3, 1, None, 1, 1, "torch.nn.LeakyReLU(0.1)"],
    ],
)
def test_rows_take_what_conv_takes(arguments):
    """Size and channels as with Conv; the activation that the row says."""
    from ultralytics.nn.tasks import parse_model

    def build(name):
        given = [*arguments, 3] if len(arguments) == 1 else arguments
        rows = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, name, list(given)]]
        config = {"nc": 8, "width_multiple": 1.0, "backbone": rows, "head": []}
        return parse_model(config, 3, False)[0]

    x = torch.rand(1, 3, 24, 32)
    ours, plain = build("RFAConv"), build("Conv")
    assert ours(x).shape == plain(x).shape
    act = arguments[6] if len(arguments) > 6 else True
    named = str(act).partition("(")[0].rpartition(".")[2]
    expected = {"True": "SiLU", "False": "Identity"}.get(named, named)
    assert type(ours[1].act).__name__ == expected


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("network", ["yolov8n", "yolo26n-pose"])
def test_heads(network, operator):
    """The towers use the operator, the copies of an end-to-end head start equal, training works."""
    from ultralytics import YOLO

    model = YOLO(f"{network}-{operator}-head.yaml").model
    head = model.model[-1]
    kind = rfaconv.nn.CONVOLUTIONS[operator]
    assert sum(isinstance(m, kind) for m in head.cv2.modules()) == 6
    for name, tower in head.named_children():
        if name.startswith("one2one_"):
            for ours, other in zip(
                tower.parameters(),
                getattr(head, name.removeprefix("one2one_")).parameters(),
                strict=True,
            ):
                assert torch.equal(ours, other)
    assert not any(isinstance(m, kind) for m in model.model[:-1].modules())
    out = model.train()(torch.rand(2, 3, 64, 64))
    total = sum(t.float().mean() for t in _tensors(out))
    total.backward()
    first = next(m for m in head.cv2.modules() if isinstance(m, kind))
    assert first.weight.grad is not None


def _tensors(out):
    if isinstance(out, torch.Tensor):
        return [out] if out.requires_grad else []
    values = out.values() if isinstance(out, dict) else out
    return [t for value in values for t in _tensors(value)]


@pytest.mark.parametrize("size", ["n", "m"])
def test_blocks_keep_the_forms_that_ultralytics_gives_the_original(size):
    """From size m on C3k2 uses C3k, and a network of C3k2 has the newer head."""
    from ultralytics.nn.tasks import DetectionModel

    plain = DetectionModel(model_config(f"yolo11{size}", None), verbose=False)
    ours = DetectionModel(model_config(f"yolo11{size}", "cam", "blocks"), verbose=False)
    keep = [k for k in plain.state_dict() if ".m." not in k]
    assert {k: v.shape for k, v in plain.state_dict().items() if k in keep} == {
        k: v.shape for k, v in ours.state_dict().items() if k in keep
    }
    for a, b in zip(plain.model, ours.model, strict=True):
        assert [type(m).__name__ for m in a.modules() if "C3k" in type(m).__name__] == [
            type(m).__name__.removesuffix("_CAM") for m in b.modules() if "C3k" in type(m).__name__
        ]
