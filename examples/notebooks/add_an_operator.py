# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Add an operator
#
# An operator of this family is a gate: `y = K (f * a) + b`, and only `a` is new. Here is one outside of the library, from
# its public functions, to try an idea in an afternoon: a **per-tap sigmoid** gate of the patch mean in place of RFAConv's
# softmax, so that taps do not compete. `docs/internals/adding.md` says how one moves into the library with kernels.

# %%
import torch
from torch import Tensor, nn


class SigmoidRFAConv2d(nn.Module):
    """RFAConv with independent gates: ``a[c,j] = sigmoid(w[c,j] * mean(u[c]) + v[c,j])``."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        taps, pad = kernel * kernel, kernel // 2
        self.taps = taps
        self.mean = nn.AvgPool2d(kernel, stride, pad)
        self.features = nn.Sequential(
            nn.Conv2d(channels, channels * taps, kernel, stride, pad, groups=channels, bias=False),
            nn.BatchNorm2d(channels * taps),
            nn.ReLU(),
        )
        self.weight = nn.Parameter(torch.zeros(1, channels, taps, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, taps, 1, 1))
        # the kernel K acts on the panel: a 1x1 convolution over its C * T rows
        self.project = nn.Conv2d(channels * taps, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns K (f * a) + b."""
        feature = self.features(x).unflatten(1, (-1, self.taps))
        gate = torch.sigmoid(self.weight * self.mean(x).unsqueeze(2) + self.shift)
        return self.project((feature * gate).flatten(1, 2))


layer = SigmoidRFAConv2d(8, 16, stride=2)
assert layer(torch.randn(2, 8, 15, 20)).shape == (2, 16, 8, 10)

# %% [markdown]
# Check the formula against explicit loops before believing it: this is how the library tests its own operators.

# %%
layer = SigmoidRFAConv2d(2, 3).double().eval()
nn.init.normal_(layer.weight)
nn.init.normal_(layer.shift)
x = torch.randn(1, 2, 4, 5, dtype=torch.float64)
padded = nn.functional.pad(x, (1, 1, 1, 1))
y = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
grouped, norm = layer.features[0], layer.features[1]
for row in range(4):
    for column in range(5):
        panel = []
        for channel in range(2):
            patch = padded[0, channel, row : row + 3, column : column + 3].flatten()
            for tap in range(9):
                g = grouped.weight[9 * channel + tap].flatten() @ patch
                i = 9 * channel + tap
                z = (g - norm.running_mean[i]) / (norm.running_var[i] + norm.eps).sqrt()
                f = torch.relu(norm.weight[i] * z + norm.bias[i])
                w, v = layer.weight[0, channel, tap, 0, 0], layer.shift[0, channel, tap, 0, 0]
                panel.append(f * torch.sigmoid(w * patch.mean() + v))
        matrix = layer.project.weight.flatten(1)
        y[0, :, row, column] = matrix @ torch.stack(panel) + layer.project.bias
assert torch.allclose(layer(x), y)

# %% [markdown]
# And its gradient against finite differences:

# %%
assert torch.autograd.gradcheck(layer, x.requires_grad_())

# %% [markdown]
# Does it share gates between windows? Each window's gates follow from its own mean, so only where means are equal.
# Train it beside RFAConv as in *A first network* before you write kernels for it.
