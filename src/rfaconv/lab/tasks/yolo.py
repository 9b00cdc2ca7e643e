"""The YOLO networks of ultralytics (AGPL-3.0): boxes or outlines, trained by ultralytics itself."""

from __future__ import annotations

import csv
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor, nn

from rfaconv.errors import InvalidArgument
from rfaconv.files import write_atomic
from rfaconv.integrations import register
from rfaconv.integrations.ultralytics import model_config
from rfaconv.lab.data.boxes import check_labelled
from rfaconv.lab.data.digest import digest_of, image_stamp
from rfaconv.lab.data.yolo.labelled import Source, unique_names
from rfaconv.lab.data.yolo.reading import (
    description,
    good_rows,
    label_of,
    of_poses,
    read_yolo,
    yolo_file,
)
from rfaconv.lab.data.yolo.sources import read_source
from rfaconv.lab.data.yolo.writing import write_source
from rfaconv.lab.networks.classifiers import PLAIN
from rfaconv.lab.predict.ultralytics import open_yolo
from rfaconv.lab.recipes import Yolo
from rfaconv.lab.seeds import derive, seed_all
from rfaconv.lab.tasks.base import Task, folder_of, held_out
from rfaconv.lab.training.module import EpochRecord
from rfaconv.variants import OPERATORS

FOLDER = "ultralytics"
WEIGHTS = f"{FOLDER}/weights/last.pt"
_OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD"}


@dataclass(frozen=True)
class YoloSets:
    """Image files, and what is to be written for ultralytics where they have no labels yet.

    Attributes:
        train: files to learn from.
        val: files to judge on.
        classes: names.
        problems: what was passed over.
        source: labels of another form; None where they lie beside the images.
        poses: whether rows of labels have points behind the box.
    """

    train: tuple[Path, ...]
    val: tuple[Path, ...]
    classes: tuple[str, ...]
    problems: tuple[str, ...]
    source: Source | None = None
    poses: bool = False

    @cached_property
    def digest(self) -> str:
        """Of the images and of the rows of their labels."""
        splits = self.source.splits if self.source is not None else {}
        rows = {picture.image: picture.rows for split in splits.values() for picture in split}

        def stamp(image: Path) -> object:
            label = label_of(image)
            # no file and an empty one are the same
            text = label.read_bytes() if self.source is None and label.is_file() else b""
            return image_stamp(image), rows.get(image, text)

        return digest_of(self.classes, map(stamp, self.train), map(stamp, self.val))


class YoloTask(Task):
    """A network by its name in ultralytics, with an operator at its positions."""

    score: ClassVar[str] = "map"

    def data(self, recipe: Yolo) -> YoloSets:
        """A YOLO data set as it lies there, or what VOC, COCO and masks say."""
        root, strict = folder_of(recipe), recipe.data.strict
        file = yolo_file(root)
        if file is None:
            task = "segment" if "-seg" in recipe.model.name else "detect"
            names = recipe.data.classes or None
            source = read_source(root, task, classes=names, strict=strict)
            train, val = (tuple(p.image for p in source.splits[s]) for s in ("train", "val"))
            for split, use in (("train", "to learn from"), ("val", "to judge on")):
                if not any(picture.rows for picture in source.splits[split]):
                    got = "; ".join(source.problems[:1]) or f"{split} without one"
                    raise InvalidArgument("data.root", f"images with objects {use}", got)
            return YoloSets(train, val, source.classes, tuple(source.problems), source)
        values = description(file)
        held = next((split for split in ("val", "test") if values.get(split)), None)
        first = read_yolo(root, "train", strict=strict)
        check_labelled(first)
        sets = (first, read_yolo(root, held, strict=strict)) if held else None
        if sets is None:
            parts = held_out(first, 0)
            sets = parts.train, parts.val
        check_labelled(sets[1], "to judge on")
        problems = tuple(str(p) for part in sets for p in part.problems)
        files = [tuple(sample.image.resolve() for sample in part.samples) for part in sets]
        poses = of_poses(values)
        return YoloSets(files[0], files[1], first.classes, problems, poses=poses)

    def plain(self, recipe: Yolo, data: YoloSets, fetch: bool = True) -> nn.Module:
        """The network of ultralytics, its operator included.

        Layers that it shares with the network without the operator start from the same numbers.
        """
        network = self._built(recipe, data)
        if recipe.model.operator != PLAIN:
            start_equal_(network, self._built(recipe.with_model(operator=PLAIN), data))
        return network

    def _built(self, recipe: Yolo, data: YoloSets) -> nn.Module:
        _ultralytics(torch.get_num_threads())
        seed_all(derive(recipe.seed, "network"))
        config = _config(recipe, len(data.classes))
        kind = "SegmentationModel" if "-seg" in recipe.model.name else "DetectionModel"
        build: Any = getattr(import_module("ultralytics.nn.tasks"), kind)
        network: nn.Module = build(config, verbose=False)
        network.args = import_module("ultralytics.cfg").get_cfg()
        return network

    def body(self, network: nn.Module) -> nn.Module:
        """Nothing is put into it: the configuration has the operator."""
        return nn.Identity()

    def example(self, recipe: Yolo, data: YoloSets) -> Tensor:
        """A black square."""
        return torch.zeros(1, 3, recipe.data.size, recipe.data.size)

    def training_loss(
        self, network: Any, recipe: Yolo, data: YoloSets, device: torch.device
    ) -> Callable[[], Tensor]:
        """Loss of a batch with one box in each image."""
        count, size = recipe.batch_size, recipe.data.size
        batch = {
            "img": torch.rand(count, 3, size, size, device=device),
            "batch_idx": torch.arange(count, device=device).float(),
            "cls": torch.zeros(count, 1, device=device),
            "bboxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]], device=device).repeat(count, 1),
            "masks": torch.ones(count, size // 4, size // 4, device=device),
        }
        return lambda: network.train()(batch)[0].sum()

    def judge(self, network: Any, recipe: Yolo, data: YoloSets) -> dict[str, Any]:
        """Not of a network alone: see :meth:`judge_run`."""
        raise InvalidArgument("network", "a run's folder", type(network).__name__)

    def judge_run(self, run: Path, recipe: Yolo, data: YoloSets) -> dict[str, Any]:
        """Average precision as ultralytics counts it, of the masks where there are any."""
        _ultralytics(torch.get_num_threads())
        model = open_yolo(run / WEIGHTS)
        figures = model.val(
            data=str(_written(data, run)), imgsz=recipe.data.size, batch=recipe.batch_size,
            plots=False, verbose=False, workers=recipe.data.workers, project=str(run / FOLDER),
            name="val", exist_ok=True,
        )  # fmt: skip
        found = getattr(figures, "seg", None) or figures.box
        per_class: list[float | None] = [None] * len(data.classes)
        for index, value in zip(found.ap_class_index, found.ap, strict=True):
            per_class[int(index)] = float(value)
        return {
            "map": float(found.map), "map_50": float(found.map50), "map_75": float(found.map75),
            "per_class": per_class, "images": len(data.val),
        }  # fmt: skip

    def train(
        self,
        recipe: Yolo,
        out: Path,
        device: str,
        data: YoloSets,
        on_epoch: Callable[[EpochRecord], None] | None,
    ) -> tuple[list[EpochRecord], float]:
        """Trains in ``out/ultralytics``; goes on after the last epoch that is there.

        Returns:
            The epochs, and images a second.
        """
        yolo = _ultralytics(recipe.threads or torch.get_num_threads()).YOLO
        steps = math.ceil(len(data.train) / recipe.batch_size)
        done = _curve(out, steps)
        if len(done) < recipe.epochs:
            last = out / WEIGHTS
            resume = bool(done) and last.is_file()
            file = _written(data, out)
            if not resume:
                config = out / f"{recipe.model.name}.yaml"
                text = yaml.safe_dump(_config(recipe, len(data.classes)), sort_keys=False)
                write_atomic(config, text)
            model = open_yolo(last) if resume else yolo(out / f"{recipe.model.name}.yaml")

            def told(trainer: Any) -> None:
                record = _record(trainer, steps)
                if on_epoch is not None and trainer.epoch < recipe.epochs and record is not None:
                    on_epoch(record)

            model.add_callback("on_fit_epoch_end", told)
            begin = time.perf_counter()
            if resume:
                model.train(resume=True)
            else:
                trainer = started(model.task_map[model.task]["trainer"], self.plain(recipe, data))
                model.train(trainer, data=str(file), **_settings(recipe, out, device))
            seconds = time.perf_counter() - begin
        else:
            seconds = 0.0
        curve = _curve(out, steps)
        images = (len(curve) - len(done)) * steps * recipe.batch_size
        return curve, images / seconds if seconds else 0.0


def start_equal_(network: nn.Module, plain: nn.Module) -> None:
    """Gives a network the numbers of the plain one in all layers but the operators', in place."""
    kind = import_module("rfaconv.integrations.ultralytics.operators").OperatorConv
    ours = tuple(f"{name}." for name, m in network.named_modules() if isinstance(m, kind))
    own = network.state_dict()
    shared = {
        key: value
        for key, value in plain.state_dict().items()
        if key in own and own[key].shape == value.shape and not key.startswith(ours)
    }
    network.load_state_dict(shared, strict=False)


def started(kind: Any, start: nn.Module) -> Any:
    """A trainer of ultralytics whose network starts from given weights.

    Random numbers go on from one seed, whatever building the network took.
    """

    class Started(kind):  # type: ignore[misc]
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            network = super().get_model(cfg=cfg, weights=weights, verbose=verbose)
            if weights is None:
                network.load_state_dict(start.state_dict())
                seed_all(derive(self.args.seed, "training"))
            return network

    return Started


def _ultralytics(threads: int) -> Any:
    """The package, which installs nothing by itself and takes these threads and no others."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    register("ultralytics")
    # it sets torch's threads to this whenever it chooses the CPU
    import_module("ultralytics.utils.torch_utils").NUM_THREADS = threads  # type: ignore[attr-defined]
    return import_module("ultralytics")


def _settings(recipe: Yolo, out: Path, device: str) -> dict[str, Any]:
    """What ultralytics' ``train`` is called with."""
    part = recipe.optimizer
    return {
        "epochs": recipe.epochs, "batch": recipe.batch_size, "imgsz": recipe.data.size,
        "seed": recipe.seed, "optimizer": _OPTIMIZERS.get(part.name, part.name), "lr0": part.lr,
        "momentum": part.momentum, "weight_decay": part.weight_decay,
        # ultralytics gathers gradients up to a nominal batch: here every batch is a step
        "nbs": recipe.batch_size, "workers": recipe.data.workers, "device": device,
        "project": str(out.resolve()), "name": FOLDER, "exist_ok": True, "plots": False,
        "verbose": False, "amp": False, "pretrained": False, **recipe.options,
    }  # fmt: skip


def _config(recipe: Yolo, classes: int) -> dict[str, Any]:
    """The network's configuration with the operator, the width and the number of classes."""
    model = recipe.model
    known = (PLAIN, *OPERATORS, "features")
    if model.operator not in known:
        expected = f"one of {', '.join(known)} with task: yolo"
        raise InvalidArgument("model.operator", expected, model.operator)
    operator = None if model.operator == PLAIN else model.operator
    config = {**model_config(model.name, operator, model.at), "nc": classes}
    scales = config.get("scales")
    if scales:
        letter = config.get("scale") or next(iter(scales))
        depth, width, most = scales[letter]
        config["scales"] = {letter: [depth, width * model.width, most]}
        config["scale"] = letter
    elif model.width != 1:
        raise InvalidArgument("model.width", f"1 with {model.name}", model.width)
    return {k: v for k, v in config.items() if k not in ("yaml_file", "channels")}


def _written(data: YoloSets, out: Path) -> Path:
    """A data set of the run's own, images by links: ultralytics writes caches beside labels."""
    folder = out / "dataset"
    if data.source is not None:
        return write_source(data.source, folder, link=True)
    names = unique_names([*data.train, *data.val])
    for split, files in (("train", data.train), ("val", data.val)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for file in files:
            picture = folder / "images" / split / f"{names[file]}{file.suffix.lower()}"
            if not picture.exists():
                _link(file, picture)
            if label_of(file).is_file():
                label = folder / "labels" / split / f"{names[file]}.txt"
                text = good_rows(label_of(file), len(data.classes), data.poses)
                label.write_text(text, encoding="utf-8")
    values = {
        "path": str(folder.resolve()), "train": "images/train", "val": "images/val",
        "names": dict(enumerate(data.classes)),
    }  # fmt: skip
    write_atomic(folder / "data.yaml", yaml.safe_dump(values, sort_keys=False))
    return folder / "data.yaml"


def _link(file: Path, picture: Path) -> None:
    try:
        picture.symlink_to(file)
    except OSError:  # Windows asks for a right
        shutil.copyfile(file, picture)


def _record(trainer: Any, steps: int) -> EpochRecord | None:
    score = _score({key: float(value) for key, value in (trainer.metrics or {}).items()})
    if score is None or trainer.tloss is None:
        return None
    # a mapping or a tensor, as the version has it
    parts = trainer.tloss.values() if isinstance(trainer.tloss, dict) else [trainer.tloss]
    loss = sum(float(torch.as_tensor(part).sum()) for part in parts)
    return EpochRecord(trainer.epoch, steps * (trainer.epoch + 1), loss, None, score)


def _curve(out: Path, steps: int) -> list[EpochRecord]:
    """The epochs that ultralytics has written down; not one that it was killed in.

    Raises:
        InvalidArgument: the file is damaged.
    """
    file = out / FOLDER / "results.csv"
    if not file.is_file():
        return []
    try:
        lines = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        rows = [
            {key.strip(): float(value) for key, value in line.items() if value}
            for line in lines
            if None not in line.values()
        ]
    except (ValueError, AttributeError, csv.Error) as error:
        got = f"{file} ({' '.join(str(error).split())[:80]})"
        raise InvalidArgument("run", "a table of epochs", got) from error
    records = []
    for number, row in enumerate(rows):
        losses = [value for key, value in row.items() if key.startswith("train/")]
        judged = [value for key, value in row.items() if key.startswith("val/")]
        record = EpochRecord(
            number, steps * (number + 1), sum(losses), sum(judged), _score(row) or 0.0
        )
        records.append(record)
    return records


def _score(row: dict[str, float]) -> float | None:
    """Of the masks where there are any, else of the boxes."""
    keys = ("metrics/mAP50-95(M)", "metrics/mAP50-95(B)")
    return next((row[key] for key in keys if key in row), None)
