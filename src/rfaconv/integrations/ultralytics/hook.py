"""Puts the layers where ultralytics looks for them, tests that it finds them, and takes them back.

Four things change while the operators are registered: ``parse_model`` (which then checks the rows,
for clear errors, and builds those that name an operator), ``yaml_model_load`` (which then knows
``yolov8n-rfa.yaml``), ``Model._load`` (which takes that name without its ending, too) and the list
of callbacks (by which processes of a multi-GPU training get the operators). No file is edited.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from rfaconv.errors import InvalidArgument
from rfaconv.integrations import IntegrationError
from rfaconv.integrations.ultralytics.version import check_version

_CALLBACK = "on_pretrain_routine_start"
_undo: list[Callable[[], None]] = []
_busy = False


def installed() -> bool:
    """Whether ultralytics knows the operators."""
    return bool(_undo)


def install() -> None:
    """Registers the layers; does nothing if they are.

    Raises:
        IntegrationError: ultralytics is missing, too old, or changed so that this does not work.
    """
    global _busy
    if _undo or _busy:
        return
    version = check_version()
    _busy = True
    try:
        try:
            parse = _patch()
            _self_test()
        except Exception as error:
            remove()
            raise IntegrationError(
                f"ultralytics {version} has changed and did not take the operators "
                f"({type(error).__name__}: {error}). Train with trainer="
                "rfaconv.integrations.ultralytics.trainers.TRAINERS['rfa'] on a plain model "
                "instead, or install an ultralytics that this version of rfaconv was tested with"
            ) from error
    finally:
        _busy = False
    # a file that registers while it is read; its errors are its own
    import_module("rfaconv.integrations.ultralytics.running").join(parse)


def remove() -> None:
    """Takes everything back, in reverse; does nothing if nothing is registered."""
    while _undo:
        _undo.pop()()


def _patch() -> Any:
    """Patches ultralytics and returns its original ``parse_model``."""
    from rfaconv.integrations.ultralytics.configs import load_named
    from rfaconv.integrations.ultralytics.parsing import parser
    from rfaconv.integrations.ultralytics.starting import bring_operators, loader

    tasks = import_module("ultralytics.nn.tasks")
    parse = tasks.parse_model
    _set(tasks, "parse_model", parser(parse))
    original = tasks.yaml_model_load
    load = functools.wraps(original)(lambda path: load_named(path, original))
    for place in ("ultralytics.nn.tasks", "ultralytics.nn", "ultralytics.engine.model"):
        module = import_module(place)
        if getattr(module, "yaml_model_load", None) is original:
            _set(module, "yaml_model_load", load)
    model = import_module("ultralytics.engine.model").Model
    _set(model, "_load", loader(model._load))
    _add_callback(bring_operators)
    _teach_thop()
    _allow_safe_loading()
    return parse


def _set(owner: Any, name: str, value: object) -> None:
    missing = object()
    before = vars(owner).get(name, missing)

    def undo() -> None:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    setattr(owner, name, value)
    _undo.append(undo)


def _add_callback(callback: Callable[..., None]) -> None:
    callbacks = import_module("ultralytics.utils.callbacks.base").default_callbacks[_CALLBACK]
    callbacks.append(callback)

    def undo() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    _undo.append(undo)


def _teach_thop() -> None:
    from rfaconv.complexity import register_thop

    try:
        rules = import_module("thop.profile").register_hooks
    except ModuleNotFoundError:
        return
    before = dict(rules)

    def undo() -> None:
        for kind in [kind for kind in rules if kind not in before]:
            del rules[kind]
        rules.update(before)

    register_thop()
    _undo.append(undo)


def _allow_safe_loading() -> None:
    if not hasattr(torch.serialization, "add_safe_globals"):
        return
    from rfaconv.integrations.ultralytics.operators import KINDS, MODULES

    attention = import_module("rfaconv.nn.attention")
    parts = [
        value
        for value in vars(attention).values()
        if isinstance(value, type) and issubclass(value, nn.Module)
    ]
    known = torch.serialization.get_safe_globals()
    wanted: list[Any] = [*MODULES.values(), *KINDS.values(), *parts]
    new = [kind for kind in wanted if kind not in known]
    torch.serialization.add_safe_globals(new)

    def undo() -> None:
        kept = [entry for entry in torch.serialization.get_safe_globals() if entry not in new]
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(kept)

    _undo.append(undo)


def _self_test() -> None:
    """Builds a network of a layer and a block, and folds the norm as ultralytics' fuse() does."""
    from rfaconv.integrations.ultralytics.operators import LAYERS

    tasks = import_module("ultralytics.nn.tasks")
    fuse = import_module("ultralytics.utils.torch_utils").fuse_conv_and_bn
    rows = [[-1, 1, "RFAConv", [16, 3, 2]], [-1, 2, "C2f_RFA", [32, True]]]
    config = {"nc": 1, "depth_multiple": 1.0, "width_multiple": 0.5, "backbone": rows, "head": []}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network, _ = tasks.parse_model(config, ch=3, verbose=False)
        network.eval()
        x = torch.rand(1, 3, 8, 8)
        shape = tuple(network(x).shape)
        if shape != (1, 16, 4, 4):
            raise InvalidArgument("width scaling", "an output (1, 16, 4, 4)", str(shape))
        blocks = network[1].m
        if len(blocks) != 2 or not isinstance(blocks[0].cv2, LAYERS["rfa"]):
            raise InvalidArgument("depth scaling", "2 bottlenecks with RFAConv", repr(blocks))
        layer = network[0]
        layer.bn.running_mean.fill_(0.25)
        before = layer(x)
        layer.conv = fuse(layer.conv, layer.bn)
        if type(layer.conv).__name__ != "RFAConv2d":
            raise InvalidArgument("fuse()", "an RFAConv2d", type(layer.conv).__name__)
        del layer.bn
        if not torch.allclose(layer.forward_fuse(x), before, atol=1e-5):
            raise InvalidArgument("fuse()", "the same output", "another one")
