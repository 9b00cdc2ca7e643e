"""The folder of a run: whose it is, what it resumes from, and that one process writes to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel

from rfaconv.errors import InvalidArgument, RFAConvError, unknown_name
from rfaconv.files import make_folder, strict_json, write_atomic
from rfaconv.lab.data import ImageForm
from rfaconv.lab.data.digest import same_data
from rfaconv.lab.data.folder import split_folders
from rfaconv.lab.data.load import FOLDER_PREFIX
from rfaconv.lab.recipes import Recipe, recipe_text
from rfaconv.lab.training.saves import last_good

RECIPE_FILE = "recipe.yaml"
DATA_FILE = "data.json"
"""Which images a run was begun with: their digest and all that its network must know of them."""
LOCK_FILE = ".lock"
RESUME = ("auto", "never")


def check_folder(
    recipe: BaseModel, out: Path, resume: str, read: Callable[[str], BaseModel]
) -> None:
    """Refuses a folder that a recipe cannot be trained in; nothing is written.

    Args:
        recipe: what will be trained.
        out: the run's folder.
        resume: ``auto`` takes a run of the same recipe up; ``never`` refuses a folder in use.
        read: from the recipe file of a run to its recipe.

    Raises:
        InvalidArgument: it holds something else; of another recipe the first key that differs is
            named.
    """
    if resume not in RESUME:
        raise unknown_name("resume", resume, RESUME)
    if not _first_process():
        return
    file = out / RECIPE_FILE
    if out.exists() and not out.is_dir():
        raise InvalidArgument("out", "a folder", str(out))
    if not file.exists():
        # a name with a dot is a lock, or what a process left that was killed while it wrote
        if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise InvalidArgument("out", "a new folder or a run of this recipe", str(out))
        return
    expected = "a new folder or a run of the same recipe"
    try:
        found = read(str(file))
    except InvalidArgument as error:
        raise InvalidArgument("out", expected, f"{out}, whose {file.name} is not one") from error
    if resume == "never":
        raise InvalidArgument("out", "a new folder with resume never", str(out))
    if found != recipe:
        raise InvalidArgument("out", expected, f"{out}, with {_difference(found, recipe)}")


def check_place(recipe: Recipe, out: Path) -> None:
    """Refuses a folder among those of classes, of which it would be one the next time.

    Raises:
        InvalidArgument: it is one.
    """
    name = str(getattr(recipe.data, "name", ""))
    if not name.startswith(FOLDER_PREFIX) or name == FOLDER_PREFIX:
        return
    root = Path(name.removeprefix(FOLDER_PREFIX)).expanduser()
    parts = split_folders(root) if root.is_dir() else []
    for part in parts if len(parts) == 2 else [root]:
        if out.resolve().is_relative_to(part.resolve()):
            raise InvalidArgument("out", f"a folder outside of {part}, whose folders are classes",
                                  str(out))  # fmt: skip


def check_data(data: Any, run: Path) -> None:
    """Refuses other images than those that a run was begun with.

    Raises:
        InvalidArgument: they were changed, or what the run says of them is damaged.
    """
    known = begun_with(run)
    if known and not (
        known["classes"] == tuple(data.classes) and same_data(known["digest"], data.digest)
    ):
        theirs, ours = known["classes"], tuple(data.classes)
        got = f"others: classes {', '.join(ours)}" if theirs != ours else "others of its classes"
        raise InvalidArgument("data", f"the images that {run} was begun with", got)


def begun_with(run: Path) -> dict[str, Any]:
    """What a run says of its images; nothing where it is older than that.

    ``digest``, ``classes`` and, of a classifier, ``form``.

    Raises:
        InvalidArgument: the file is damaged.
    """
    path = run / DATA_FILE
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        classes = tuple(map(str, value["classes"]))
        found: dict[str, Any] = {"digest": str(value["digest"]), "classes": classes}
        if "channels" in value:
            mean, std = (tuple(map(float, value[key])) for key in ("mean", "std"))
            sizes = int(value["channels"]), int(value["image_size"])
            found["form"] = ImageForm(classes, *sizes, mean, std)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InvalidArgument("run", f"what the images were in {path}", reason) from error
    return found


def _described(data: Any) -> dict[str, Any]:
    form = [field.name for field in fields(ImageForm)] if isinstance(data, ImageForm) else []
    return {"digest": data.digest, "classes": data.classes, **{n: getattr(data, n) for n in form}}


@contextmanager
def locked(path: Path, taken: RFAConvError) -> Iterator[FileLock]:
    """Keeps other processes out by a file; raises ``taken`` where one is in."""
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise taken from error
    except NotImplementedError:
        pass  # a file system without locks
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def opened(recipe: BaseModel, out: Path, data: Any = None) -> Iterator[None]:
    """Makes the folder, keeps other trainings out of it, and writes down recipe and images.

    Where an argument turns out to be bad before anything is saved, what was made is taken away.

    Raises:
        InvalidArgument: another process trains in it.
    """
    if not _first_process():
        yield
        return
    made = [path for path in (out, *out.parents) if not path.exists()]
    make_folder(out)
    got = f"{out}, in which another process is training"
    taken = InvalidArgument("out", "a folder that is not in use", got)
    with locked(out / LOCK_FILE, taken) as lock:
        fresh = not (out / RECIPE_FILE).exists()
        try:
            if fresh:
                write_atomic(out / RECIPE_FILE, recipe_text(recipe))
            if data is not None and not (out / DATA_FILE).exists():
                write_atomic(out / DATA_FILE, strict_json(_described(data)))
            yield
        except InvalidArgument:
            written = {RECIPE_FILE, DATA_FILE, LOCK_FILE}
            if fresh and {entry.name for entry in out.iterdir()} <= written:
                (out / RECIPE_FILE).unlink()
                (out / DATA_FILE).unlink(missing_ok=True)
                lock.release()
                (out / LOCK_FILE).unlink(missing_ok=True)
                for path in made:
                    path.rmdir()
            raise


def resumed(out: Path, log: Callable[[str], None]) -> Path | None:
    """The checkpoint that a run goes on from, or None; damaged ones are named.

    Raises:
        InvalidArgument: there are checkpoints and every one is damaged.
    """
    checkpoint, damaged = last_good(out)
    for sentence in damaged:
        log(f"damaged checkpoint left aside: {sentence}")
    if checkpoint is not None:
        log(f"going on from {checkpoint}")
    return checkpoint


def _first_process() -> bool:
    """Whether this is no process that Lightning or a launcher started beside the first."""
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def _difference(found: BaseModel, wanted: BaseModel) -> str:
    theirs, ours = flat(found.model_dump(mode="json")), flat(wanted.model_dump(mode="json"))
    for key in [*ours, *theirs]:
        if theirs.get(key) != ours.get(key):
            return f"{key} {theirs.get(key)!r}, not {ours.get(key)!r}"
    return "another recipe"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys of all levels with dots between, as overrides have them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
