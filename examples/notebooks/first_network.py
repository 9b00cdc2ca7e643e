# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A first network
#
# A small network with RFAConv learns scikit-learn's digits, beside the same network with plain convolutions. Nothing is
# downloaded. A minute on one core.

# %%
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import rfaconv
from rfaconv.nn import CONVOLUTIONS

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
train_x, test_x, train_y, test_y = train_test_split(
    images, labels, test_size=0.25, random_state=0, stratify=labels
)
print(train_x.shape, test_x.shape)

# %% [markdown]
# The operator takes the place of `nn.Conv2d`; norm and activation follow as usual. `padding=1` is said for both: the
# default of `nn.Conv2d` is 0, that of the operators keeps the size.


# %%
def network(operator: str) -> nn.Sequential:
    """Two blocks and a classifier, with the convolution of the given name."""
    layer = nn.Conv2d if operator == "conv" else CONVOLUTIONS[operator]
    return nn.Sequential(
        layer(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        layer(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def accuracy(model: nn.Module) -> float:
    """Share of the test images that the model gets right."""
    model.eval()
    with torch.no_grad():
        return float((model(test_x).argmax(1) == test_y).float().mean())


def train(operator: str, seed: int, epochs: int = 5) -> float:
    """Trains from scratch and returns the test accuracy."""
    torch.manual_seed(seed)
    model = network(operator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(train_x)).split(64):
            loss = nn.functional.cross_entropy(model(train_x[rows]), train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return accuracy(model)


results = {name: [train(name, seed) for seed in range(3)] for name in ("conv", "rfa")}
for name, scores in results.items():
    print(name, [f"{score:.3f}" for score in scores])
assert min(results["rfa"]) > 0.8

# %% [markdown]
# Five epochs and three seeds show that it learns, not which is better. `rfaconv compare` does that properly: paired
# seeds, intervals, and what each operator costs.

# %%
model = network("rfa").eval()
before = model(test_x[:4])
rfaconv.fuse(model)  # folds the BatchNorm inside each operator, for deployment
assert torch.allclose(model(test_x[:4]), before, atol=1e-5)
