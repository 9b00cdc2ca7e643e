"""Predicates select the convolutions that the paper and the forks replace."""

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.surgery import where
from rfaconv.surgery.sites import find_sites


def chosen(model, predicate):
    return [site.name for site in find_sites(model) if predicate(site)]


def on_meta(build):
    with torch.device("meta"):
        return build()


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_basic_block_conv1_of_resnet18(library):
    build = {
        "timm": lambda: timm.create_model("resnet18"),
        "torchvision": lambda: torchvision.models.resnet18(),
    }[library]
    expected = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert chosen(on_meta(build), where.basic_block_conv1) == expected


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_bottleneck_3x3_of_resnet50(library):
    build = {
        "timm": lambda: timm.create_model("resnet50"),
        "torchvision": lambda: torchvision.models.resnet50(),
    }[library]
    model = on_meta(build)
    counts = (3, 4, 6, 3)
    expected = [f"layer{i + 1}.{j}.conv2" for i, n in enumerate(counts) for j in range(n)]
    assert chosen(model, where.bottleneck_3x3) == expected
    assert chosen(model, where.basic_block_conv1) == []


def test_downsampling_of_yolov8n_is_the_papers_six_positions(yolov8n):
    expected = [f"model.{layer}.conv" for layer in (1, 3, 5, 7, 16, 19)]
    assert chosen(yolov8n, where.downsampling) == expected


def test_bottleneck_3x3_of_yolov8n_is_the_second_convolution(yolov8n):
    names = chosen(yolov8n, where.bottleneck_3x3)
    assert len(names) == 10
    assert all(name.endswith(".cv2.conv") and ".m." in name for name in names)


def test_downsampling_leaves_stem_and_1x1_alone():
    model = on_meta(lambda: torchvision.models.resnet18())
    assert chosen(model, where.downsampling) == [f"layer{i}.0.conv1" for i in (2, 3, 4)]


def test_predicates_combine():
    model = on_meta(lambda: torchvision.models.resnet18())
    first = where.basic_block_conv1 & where.by_name("layer1.*")
    assert chosen(model, first) == ["layer1.0.conv1", "layer1.1.conv1"]
    assert chosen(model, where.by_name("conv1") | first) == ["conv1", *chosen(model, first)]
    rest = chosen(model, where.everything & ~first)
    assert len(rest) == len(find_sites(model)) - 2
    assert "layer1.0.conv1" not in rest
    small = where.spatial & (lambda site: site.module.in_channels == 64)
    assert len(chosen(model, small)) == 5


def test_what_convert_takes():
    model = on_meta(lambda: torchvision.models.resnet18())
    expected = ["layer1.0.conv2", "layer1.1.conv2"]
    for given in (
        "layer1.?.conv2",
        re.compile(r"layer1\.\d\.conv2"),
        lambda site: site.name.startswith("layer1") and site.attribute == "conv2",
        lambda name, module: name.startswith("layer1") and name.endswith("conv2"),
        where.by_name("layer1.*") & where.by_name("*conv2"),
    ):
        assert chosen(model, where.as_predicate(given)) == expected


@pytest.mark.parametrize("pattern", ["", 3, None])
def test_by_name_refuses(pattern):
    with pytest.raises(InvalidArgument, match="pattern: expected a non-empty string"):
        where.by_name(pattern)


def test_shared_module_is_one_site_with_all_its_places():
    shared = nn.Conv2d(2, 2, 3)
    model = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared))
    (site,) = find_sites(model)
    assert site.name == "0"
    assert site.places == ((model, "0"), (model[2], "0"))
