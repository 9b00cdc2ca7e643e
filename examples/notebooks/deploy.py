# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Deploy to ONNX Runtime and OpenVINO
#
# The network is `weights/eurosat-rfa`; run this in a checkout, with the extra `export`.

# %%
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch

import rfaconv.models  # noqa: F401  # registers the networks
from rfaconv.export import Source, export, load_exported

weights = next(p for p in (Path("weights"), Path("../../weights")) if (p / "eurosat-rfa").is_dir())
network = timm.create_model(f"local-dir:{weights / 'eurosat-rfa'}", pretrained=True).eval()
folder = Path(tempfile.mkdtemp())
x = torch.randn(4, 3, 64, 64)
with torch.no_grad():
    expected = network(x)

# %% [markdown]
# One call writes a file: norms folded, standard operators, batch and size free. Class names and normalisation go into its
# metadata.

# %%
known = network.pretrained_cfg
source = Source(
    network,
    "eurosat",
    (64, 64),
    classes=tuple(known["label_names"]),
    mean=tuple(known["mean"]),
    std=tuple(known["std"]),
)
files = {target: export(source, folder / f"eurosat.{end}", target).path
         for target, end in (("onnx", "onnx"), ("openvino", "xml"))}  # fmt: skip
for target, path in files.items():
    found = load_exported(path)(x)
    print(target, path.name, "largest difference", float((found - expected).abs().max()))
    assert torch.allclose(found, expected, atol=1e-4)

# %% [markdown]
# Without this package the files are what the runtimes read:

# %%
import onnxruntime

session = onnxruntime.InferenceSession(str(files["onnx"]), providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
scores = session.run(None, {name: x.numpy()})[0]
assert np.allclose(scores, expected.numpy(), atol=1e-4)
print(session.get_modelmeta().custom_metadata_map["rfaconv.classes"])

# %%
import openvino

# on many processors OpenVINO computes in 16 bits unless told otherwise
compiled = openvino.Core().compile_model(
    files["openvino"], "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
)
scores = next(iter(compiled(x.numpy()).values()))
assert np.allclose(scores, expected.numpy(), atol=1e-4)

# %% [markdown]
# At another size and batch, with the same file:

# %%
small = torch.randn(1, 3, 48, 80)
with torch.no_grad():
    assert torch.allclose(load_exported(files["onnx"])(small), network(small), atol=1e-4)
