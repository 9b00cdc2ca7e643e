"""Files of networks that are damaged: one line, whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rfaconv.errors import InvalidArgument
from rfaconv.lab.predict import load_predictor

GOOD = {"task": "classify", "kind": "timm", "backbone": "resnet18", "names": ["a"], "settings": {}}


@pytest.mark.parametrize(
    "about",
    [
        "", "[]", "null", "{}", "[" * 100_000,
        json.dumps(GOOD),  # the weights are of another network
        json.dumps({**GOOD, "task": "hear"}),
        json.dumps({**GOOD, "backbone": "resnet0"}),
        json.dumps({**GOOD, "names": None}),
        json.dumps({**GOOD, "kind": "fcos", "settings": {"speed": 3}}),
    ],
)  # fmt: skip
def test_descriptions_that_do_not_fit(about: str, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file({"x": torch.zeros(2)}, file, metadata={"rfaconv": about})
    with pytest.raises(InvalidArgument, match=r"weights: expected") as caught:
        load_predictor(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100, b"\x08\0\0\0\0\0\0\0{}"])
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(InvalidArgument, match="weights: expected") as caught:
        load_predictor(tmp_path / "net.safetensors")
    assert "\n" not in str(caught.value)
