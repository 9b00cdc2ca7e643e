# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Convert a trained network and fine-tune it
#
# `init="preserve"` puts an operator into a trained network without changing what it computes. Here a plain ResNet is
# trained on digits first, so that nothing has to be downloaded; with `timm.create_model(..., pretrained=True)` it is the
# same.

# %%
import timm
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import rfaconv

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1) / 16
images = nn.functional.interpolate(images, size=32)
labels = torch.tensor(digits.target)
train_x, test_x, train_y, test_y = train_test_split(
    images, labels, test_size=0.5, random_state=0, stratify=labels
)


def train(model: nn.Module, epochs: int, lr: float) -> float:
    """Trains all parameters and returns the test accuracy."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(train_x)).split(64):
            loss = nn.functional.cross_entropy(model(train_x[rows]), train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return float((model(test_x).argmax(1) == test_y).float().mean())


torch.manual_seed(0)
network = timm.create_model("resnet18", num_classes=10, channels=(16, 32, 32, 32), stem_width=8)
print("plain", train(network, epochs=3, lr=3e-3))

# %% [markdown]
# Convert. Calibration batches set the BatchNorm inside each operator and tell how low its inputs go. The report says
# which layers are exact for every input and which on the calibrated range.

# %%
with torch.no_grad():
    before = network(test_x[:64])
report = rfaconv.convert_(
    network,
    "rfa",
    where=rfaconv.where.basic_block_conv1,
    init="preserve",
    calibration=train_x.split(128),
)
print(report)
with torch.no_grad():
    after = network(test_x[:64])
print("largest change", float((after - before).abs().max()))
assert torch.allclose(after, before, rtol=1e-3, atol=1e-3)

# %% [markdown]
# Train on. **Make the optimizer after the conversion**: the parameters are new ones. Keeping the outputs does not by
# itself make fine-tuning pay; compare with training the plain network for as long.

# %%
print("converted and trained on", train(network, epochs=2, lr=1e-3))

# %% [markdown]
# Save it with a description of the conversion, and read it back.

# %%
import tempfile
from pathlib import Path

from rfaconv.export import from_pretrained, save_pretrained

with tempfile.TemporaryDirectory() as folder:
    made = save_pretrained(
        network,
        Path(folder) / "digits",
        classes=[str(i) for i in range(10)],
        arguments={"channels": [16, 32, 32, 32], "stem_width": 8},
    )
    again = from_pretrained(made).eval()
with torch.no_grad():
    assert torch.equal(again(test_x[:8]), network(test_x[:8]))
