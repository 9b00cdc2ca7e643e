# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Read the attention
#
# What does a trained RFAConv do in one window? `effective_kernels` returns the gates of every window, and says how far
# neighbouring windows share them. The network is `weights/eurosat-rfa` of the repository; run this in a checkout.

# %%
from pathlib import Path

import timm
import torch

import rfaconv.models  # noqa: F401  # registers the networks
from rfaconv import RFAConv2d, effective_kernels
from rfaconv.nn import CBAMConv2d

weights = next(p for p in (Path("weights"), Path("../../weights")) if (p / "eurosat-rfa").is_dir())
network = timm.create_model(f"local-dir:{weights / 'eurosat-rfa'}", pretrained=True).eval()
layers = {name: m for name, m in network.named_modules() if isinstance(m, RFAConv2d)}
print(list(layers))

# %% [markdown]
# An image to look at: a field with a bright road. Take one of your own if you like.

# %%
image = torch.full((3, 64, 64), 0.35)
image[:, 28:34] = 0.9
mean, std = (torch.tensor(network.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
x = ((image - mean) / std)[None]

inputs = {}
for name, layer in layers.items():
    layer.register_forward_pre_hook(lambda _, given, name=name: inputs.update({name: given[0]}))
with torch.no_grad():
    network(x)

# %% [markdown]
# `gate` is (B, C, T, H, W): nine numbers per channel and window, which sum to 1.

# %%
name = next(iter(layers))
found = effective_kernels(layers[name], inputs[name])
print(name, tuple(found.gate.shape), "sharing", round(found.sharing, 3))
assert torch.allclose(found.gate.sum(2), torch.ones_like(found.gate.sum(2)), atol=1e-5)

# the channel whose gates differ most from tap to tap, at the window where they do
spread = found.gate[0].std(1)
channel = int(spread.flatten(1).amax(1).argmax())
row, column = divmod(int(spread[channel].argmax()), spread.shape[-1])
print("channel", channel, "window", (row, column))
print(found.gate[0, channel, :, row, column].reshape(3, 3))

# %% [markdown]
# The gate of RFAConv is a function of one number, the mean of the patch. Two windows with equal means have equal gates.
# An attention map over pixels shares by construction:

# %%
shared = effective_kernels(CBAMConv2d(16, 16, 3, padding=1), inputs[name])
print("CBAM", shared.sharing, " RFAConv", round(found.sharing, 3))
assert shared.sharing == 1.0 > found.sharing
