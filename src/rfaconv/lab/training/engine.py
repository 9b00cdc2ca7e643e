"""The one place where a Lightning Trainer is made, whatever is trained."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer


def run_trainer(
    module: LightningModule,
    data: LightningDataModule | tuple[Any, Any],
    callbacks: Sequence[Callback],
    *,
    checkpoint: Path | None = None,
    folder: Path | None = None,
    **settings: Any,
) -> Trainer:
    """Trains and validates, quietly; what is saved is left to the callbacks.

    Args:
        module: what to train.
        data: a data module, or the loaders of training and validation batches.
        callbacks: called by Lightning in this order.
        checkpoint: Lightning's file to resume from, checked before and this user's own.
        folder: for what Lightning writes; None for one that is removed.
        settings: of the Trainer: ``max_epochs``, ``accelerator``, ``devices`` and so on.

    Returns:
        The Trainer, done.

    Raises:
        KeyboardInterrupt: by Ctrl-C, which Lightning answers by leaving the process.
    """
    scratch = nullcontext(str(folder)) if folder else tempfile.TemporaryDirectory()
    with quiet(), scratch as place:
        trainer = Trainer(
            callbacks=list(callbacks),
            default_root_dir=place,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **{"logger": False, "enable_progress_bar": False, "devices": 1, **settings},
        )
        source: dict[str, Any] = (
            {"train_dataloaders": data[0], "val_dataloaders": data[1]}
            if isinstance(data, tuple)
            else {"datamodule": data}
        )
        try:
            trainer.fit(module, **source, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as error:
            if trainer.interrupted and error.code == 1:
                raise KeyboardInterrupt from error
            raise
    return trainer


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning's notices off the terminal: devices that exist, tips, products."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            for message in _NOTICES:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_NOTICES = (
    r".*does not have many workers.*",
    r".*logg?(ing)? interval.*",
    r".*GPU available but not used.*",
    r".*litmodels.*",
    r".*LeafSpec.*",
    # every process logs sums that are already those of all
    r".*sync_dist=True.*",
    # of 1x1 convolutions, whose strides say nothing
    r"(?s).*Grad strides do not match.*",
    # GlobalBatches starts where the epoch was left
    r".*your dataloader is not resumable.*",
)
