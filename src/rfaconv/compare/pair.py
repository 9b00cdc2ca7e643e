"""One training of a comparison: an operator and a seed, from nothing to its result file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from rfaconv.compare.maps import attention_maps
from rfaconv.compare.settings import CompareSettings, Execution
from rfaconv.compare.store import Store
from rfaconv.data import ImageData
from rfaconv.training.environment import limited_threads
from rfaconv.training.fit import OnEpoch, fit
from rfaconv.training.networks import build_network
from rfaconv.training.seeds import derive


def network_for(settings: CompareSettings, data: ImageData, operator: str, seed: int) -> Any:
    """The network of one pair, initialised; its shared layers depend on the seed alone."""
    return build_network(
        settings.model,
        operator,
        classes=len(data.classes),
        channels=data.channels,
        image_size=data.image_size,
        seed=derive(seed, "network"),
        backend=settings.backend,
    )


def train_pair(
    settings: CompareSettings,
    execution: Execution,
    data: ImageData,
    operator: str,
    seed: int,
    on_epoch: OnEpoch,
) -> dict[str, Any]:
    """Trains, draws the attention maps of the first seed, and records the result.

    Args:
        settings: of the comparison.
        execution: results folder and processes.
        data: the images.
        operator: which operator.
        seed: which seed.
        on_epoch: called after every epoch.

    Returns:
        What was written to the pair's file: deterministic numbers under ``result``, times under
        ``measured``.
    """
    store = Store(execution.out)
    device = torch.device(settings.device)
    with limited_threads(settings.threads):
        network = network_for(settings, data, operator, seed)
        fitted = fit(
            network,
            data,
            settings.schedule,
            seed=seed,
            device=device,
            workers=execution.workers,
            checkpoint=store.checkpoint(operator, seed),
            checkpoint_seconds=execution.checkpoint_seconds,
            on_epoch=on_epoch,
        )
        if seed == settings.seeds[0]:
            # before the pair's own file: where that exists, the maps exist
            attention_maps(network.to(device), data, device).save(store.maps(operator))
    value = {
        "operator": operator,
        "seed": seed,
        "result": {
            "top1": fitted.top1,
            "correct": fitted.correct,
            "images": fitted.images,
            "curve": [asdict(record) for record in fitted.history],
        },
        "measured": {"train_seconds": fitted.seconds},
    }
    store.finish_pair(operator, seed, value)
    return value
