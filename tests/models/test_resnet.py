"""The timm models: sizes to the unit, and everything that timm and smp do with a model."""

import copy
import math
import pickle

import pytest
import timm
import torch
from torch import nn

import rfaconv.models
from rfaconv.nn import CONVOLUTIONS
from rfaconv.variants import OPERATORS

# paper, table of section 4.1, and its training logs
PARAMETERS = {
    "cam": (11_746_216, 21_926_376),
    "cbam": (11_747_000, 21_927_944),
    "ca": (11_742_208, 21_912_984),
    "rfa": (11_850_408, 22_160_872),
    "rfca": (11_887_936, 22_242_456),
    "rfcbam": (11_884_408, 22_237_704),
}


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("operator", OPERATORS)
def test_parameter_counts_are_the_published_ones(operator):
    found = [count(timm.create_model(f"{operator}_resnet{n}", device="meta")) for n in (18, 34)]
    assert tuple(found) == PARAMETERS[operator]


@pytest.mark.parametrize("operator", OPERATORS)
def test_resnet50_has_the_operator_in_every_bottleneck(operator):
    model = timm.create_model(f"{operator}_resnet50", device="meta")
    kind = CONVOLUTIONS[operator]
    places = [name for name, m in model.named_modules() if isinstance(m, kind)]
    assert len(places) == 16
    assert all(name.endswith(".conv2") for name in places)


def test_names_are_registered():
    assert timm.list_models("rfa_resnet*") == ["rfa_resnet18", "rfa_resnet34", "rfa_resnet50"]
    assert set(rfaconv.models.MODEL_NAMES) <= set(timm.list_models())
    assert timm.is_model("ca_resnet34")
    config = timm.get_pretrained_cfg("rfcbam_resnet18")
    assert (config.first_conv, config.classifier) == ("conv1", "fc")


def test_initialisation_is_the_published_one():
    model = timm.create_model("rfa_resnet18")
    layer = model.layer1[0].conv1
    for parameter, fan_out in (
        (layer.weight, 64 * 9),
        (layer.feature_weight, 64 * 9 * 9),
        (layer.attention_weight, 64 * 9),
    ):
        assert parameter.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    model = timm.create_model("rfca_resnet18")
    weight = model.layer4[1].conv1.attention.conv_h.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.1)


@pytest.mark.parametrize(("operator", "depth"), [*((o, 18) for o in OPERATORS), ("rfa", 50)])
def test_training_step(operator, depth):
    model = timm.create_model(f"{operator}_resnet{depth}", num_classes=5, in_chans=1)
    x = torch.randn(2, 1, 40, 40)
    loss = nn.functional.cross_entropy(model(x), torch.tensor([1, 3]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("operator", OPERATORS)
def test_arguments_of_timm(operator):
    name = f"{operator}_resnet18"
    x = torch.randn(2, 3, 32, 32)
    model = timm.create_model(
        name, num_classes=3, act_layer="silu", norm_layer="groupnorm1", drop_path_rate=0.2
    )
    assert model(x).shape == (2, 3)
    features = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4))
    assert [f.shape[1] for f in features(x)] == [64, 128, 256, 512]
    dilated = timm.create_model(name, features_only=True, output_stride=8)
    assert [f.shape[-1] for f in dilated(torch.randn(1, 3, 64, 64))] == [32, 16, 8, 8, 8]
    _, maps = model.eval().forward_intermediates(x)
    assert len(maps) == 5
    with torch.device("meta"):
        assert timm.create_model(name)(torch.empty(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize("operator", OPERATORS)
def test_copies_and_files(tmp_path, operator):
    from safetensors.torch import load_model, save_model

    model = timm.create_model(f"{operator}_resnet18", num_classes=3).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    file = tmp_path / f"{operator}.safetensors"
    save_model(model, str(file))
    twins.append(timm.create_model(f"{operator}_resnet18", num_classes=3).eval())
    assert load_model(twins[-1], str(file)) == (set(), [])
    for twin in twins:
        with torch.no_grad():
            assert torch.equal(twin(x), expected)


def test_local_folder_as_on_the_hub(tmp_path):
    from timm.models import save_for_hf

    model = timm.create_model("rfca_resnet18", num_classes=4).eval()
    save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=2, in_chans=1)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert torch.equal(other.layer3[0].conv1.weight, model.layer3[0].conv1.weight)
    assert other(x[:, :1].repeat(2, 1, 1, 1)).shape == (2, 2)


@pytest.mark.parametrize("operator", OPERATORS)
def test_segmentation_encoders(operator):
    smp = pytest.importorskip("segmentation_models_pytorch")
    x = torch.randn(2, 3, 64, 64)
    name = f"tu-{operator}_resnet18"
    unet = smp.Unet(name, encoder_weights=None, classes=2).eval()
    deeplab = smp.DeepLabV3Plus(name, encoder_weights=None, encoder_output_stride=16).eval()
    kind = CONVOLUTIONS[operator]
    with torch.no_grad():
        assert unet(x).shape == (2, 2, 64, 64)
        assert deeplab(x).shape == (2, 1, 64, 64)
    assert sum(isinstance(m, kind) for m in deeplab.modules()) == 8
    assert deeplab.encoder.model.layer4[1].conv1.dilation == (2, 2)


def test_synchronised_norms_and_graph_features():
    from torchvision.models.feature_extraction import create_feature_extractor

    model = timm.create_model("rfcbam_resnet18").eval()
    x = torch.randn(1, 3, 32, 32)
    extractor = create_feature_extractor(model, {"layer2": "middle"})
    with torch.no_grad():
        expected = model.layer2(model.layer1(model.maxpool(model.act1(model.bn1(model.conv1(x))))))
        torch.testing.assert_close(extractor(x)["middle"], expected)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted.layer1[0].conv1.feature_norm, nn.SyncBatchNorm)
