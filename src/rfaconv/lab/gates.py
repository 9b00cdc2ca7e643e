"""What the gates of a trained network do: how uneven, how different, and what freezing them costs.

The receptive-field layers of a network are watched while it is judged. Then it is judged again with
their gates frozen: a gate that does not depend on the image or the window is a factor of the
weight, so a network with frozen gates has no attention.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from rfaconv.effective import layer_gates, operator_layers
from rfaconv.errors import InvalidArgument
from rfaconv.files import strict_json, write_atomic
from rfaconv.lab.building import recipe_network
from rfaconv.lab.evaluate import Trained, trained_run
from rfaconv.lab.networks.ablations import ValueRFAConv2d
from rfaconv.lab.training.saves import FOLDER, MANIFEST, WEIGHTS, check
from rfaconv.nn import RFAConv2d, RFCAConv2d, RFCBAMConv2d
from rfaconv.nn._feature import FeatureConv2d

FILE = "gates.json"
CHUNK = 16
"""Images whose gates are in memory at the same time."""
SOFTMAX = (RFAConv2d, ValueRFAConv2d)
_OVER = ("entropy", "between_windows", "between_images")
GATED = (*SOFTMAX, RFCBAMConv2d, RFCAConv2d)
Judge = Callable[[nn.Module], dict[str, Any]]


class Watched:
    """Figures of a layer's gates (C, T), gathered over the images that pass.

    Args:
        layer: the layer.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        self.layer = layer
        taps = math.prod(layer.kernel_size)
        self.images = self.windows = 0
        self.entropy = self.within = 0.0
        # of each image's mean over its windows, and of every gate
        self.sum, self.squares, self.every = torch.zeros(3, layer.in_channels, taps).double()

    def add(self, x: Tensor) -> None:
        """Looks at the gates on an input (B, C, H, W)."""
        for part in x.split(CHUNK):
            gate = layer_gates(self.layer, part).flatten(3)
            mean = gate.mean(3).double()
            self.sum += mean.sum(0).cpu()
            self.squares += mean.square().sum(0).cpu()
            self.every += gate.double().square().mean(3).sum(0).cpu()
            self.within += float(gate.std(3, correction=0).double().mean((1, 2)).sum())
            if isinstance(self.layer, SOFTMAX):
                bits = torch.special.entr(gate).sum(2) / math.log(gate.shape[2])
                self.entropy += float(bits.double().mean((1, 2)).sum())
            self.images += len(part)
            self.windows = gate.shape[3]

    @property
    def mean(self) -> Tensor:
        """The mean gate of every channel and tap (C, T) over windows and images."""
        mean: Tensor = self.sum / self.images
        return mean

    def figures(self) -> dict[str, Any]:
        """Plain values; see :func:`gate_figures`."""
        mean = float(self.mean.mean())
        spread = (self.squares / self.images - self.mean.square()).clamp_min(0).sqrt()
        softmax = isinstance(self.layer, SOFTMAX)
        return {
            "kind": type(self.layer).__name__,
            "gate": "softmax" if softmax else "sigmoid",
            "channels": self.layer.in_channels,
            "taps": self.sum.shape[1],
            "windows": self.windows,
            "mean": mean,
            "std": math.sqrt(max(0.0, float(self.every.mean()) / self.images - mean**2)),
            "between_windows": self.within / self.images,
            "between_images": float(spread.mean()),
            "entropy": self.entropy / self.images if softmax else None,
        }


def gate_figures(network: nn.Module, judge: Judge, score: str) -> dict[str, Any]:
    """Figures of a network's gates, and its score with and without them.

    Args:
        network: in evaluation mode.
        judge: from a network to its figures on the validation images.
        score: which of them is the score.

    Returns:
        ``layers`` by name, each with ``mean`` and ``std`` of all gates; ``between_windows``, the
        standard deviation over the windows of an image, and ``between_images``, that of an image's
        mean over its windows, both of each channel and tap, averaged; ``entropy`` of softmax gates
        over the taps, where 1 is uniform.
        ``entropy`` and, divided by the mean gate, ``between_windows`` and ``between_images`` are
        the means over the layers.
        ``score``: ``trained``; ``constant`` with every channel's and tap's gate at its mean over
        windows and images; ``uniform`` with softmax gates at 1 / T (None for sigmoid gates).

    Raises:
        InvalidArgument: no layer has a gate.
    """
    with watching(network) as watched:
        trained = judge(network)[score]
    layers = {name: one.figures() for name, one in watched.items()}
    constant = judge(frozen(network, {name: one.mean for name, one in watched.items()}))[score]
    uniform = None
    if all(one["gate"] == "softmax" for one in layers.values()):
        even = {n: torch.full_like(one.mean, 1 / one.mean.shape[1]) for n, one in watched.items()}
        uniform = judge(frozen(network, even))[score]
    return {
        "layers": layers,
        **_over(layers),
        "score": {"trained": trained, "constant": constant, "uniform": uniform},
    }


@contextmanager
def watching(network: nn.Module) -> Iterator[dict[str, Watched]]:
    """Watches the gates of a network's receptive-field layers, by name.

    Raises:
        InvalidArgument: there is no such layer with a gate.
    """
    found = {n: layer for n, layer in operator_layers(network).items() if isinstance(layer, GATED)}
    if not found:
        raise InvalidArgument("gates", "a network with rfa, rfcbam, rfca or rfa-values", "none")
    watched = {name: Watched(layer) for name, layer in found.items()}
    handles = [
        one.layer.register_forward_pre_hook(lambda _, given, one=one: one.add(given[0]))
        for one in watched.values()
    ]
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def frozen(network: nn.Module, gates: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a network in which some layers have constant gates, as factors of their weights.

    Args:
        network: any.
        gates: of each channel and tap (C, T), by the name of a receptive-field layer.
    """
    network = copy.deepcopy(network)
    for name, gate in gates.items():
        owner, _, key = name.rpartition(".")
        parent = network.get_submodule(owner)
        setattr(parent, key, _constant(getattr(parent, key), gate))
    return network


def _constant(layer: Any, gate: Tensor) -> nn.Module:
    made = FeatureConv2d(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        layer.dilation, layer.groups, layer.bias is not None, layer.padding_mode,
        backend=layer.backend,
    )  # fmt: skip
    made.feature_weight, made.feature_bias = layer.feature_weight, layer.feature_bias
    made.feature_norm, made.bias = layer.feature_norm, layer.bias
    weight = layer.weight.detach()
    factor = gate.to(weight).view(layer.groups, 1, -1, *layer.kernel_size)
    made.weight = nn.Parameter((weight.unflatten(0, (layer.groups, -1)) * factor).flatten(0, 1))
    return made.train(layer.training)


def _over(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over the layers."""
    entropies = [one["entropy"] for one in layers.values() if one["entropy"] is not None]
    over: dict[str, float | None] = {"entropy": fmean(entropies) if entropies else None}
    for name in _OVER[1:]:
        over[name] = fmean(one[name] / one["mean"] for one in layers.values())
    return over


def gates_run(run: Path, which: str = "last") -> dict[str, Any]:
    """:func:`gate_figures` of a run; writes ``gates.json`` into it.

    ``epochs`` has the means over the layers after every epoch whose checkpoint the run keeps
    (``checkpoints.keep`` of the recipe says how many those are).

    Args:
        run: the folder of a run of a classifier, a detector or a segmenter.
        which: ``last`` or ``best`` checkpoint.

    Raises:
        InvalidArgument: not such a run, no whole checkpoint, or a network without gates.
    """
    trained = trained_run(run, which)
    with torch.inference_mode():
        value = gates_of(trained)
        value["epochs"] = _epochs(run, trained, value)
    value |= {
        "task": trained.recipe.task,
        "score_name": trained.task.score,
        "checkpoint": trained.checkpoint.name,
    }
    write_atomic(run / FILE, strict_json(value))
    return value


def gates_of(trained: Trained) -> dict[str, Any]:
    """:func:`gate_figures` of a run's network."""
    task, recipe, data = trained.task, trained.recipe, trained.data
    return gate_figures(trained.network, lambda n: task.judge(n, recipe, data), task.score)


def _epochs(run: Path, trained: Trained, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((run / FOLDER).glob("epoch-????")):
        if check(path) is not None:
            continue
        if path == trained.checkpoint:
            over = {name: found[name] for name in _OVER}
        else:
            network = recipe_network(trained.recipe, trained.data, path / WEIGHTS).eval()
            with watching(network) as watched:
                trained.task.judge(network, trained.recipe, trained.data)
            over = _over({name: one.figures() for name, one in watched.items()})
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        rows.append({"epoch": manifest["epoch"], "score": manifest["score"], **over})
    return rows
