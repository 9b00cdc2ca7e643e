"""Runs files of phones' runtimes on this processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfaconv.errors import InvalidArgument
from rfaconv.export.mobile import lenient


def load_executorch(path: Path, threads: int | None, precise: bool) -> Any:
    """A ``.pte``, by ExecuTorch's runtime; all files of a process share its threads."""
    with lenient():
        from executorch.runtime import Runtime

        if threads is not None:
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

            _unsafe_reset_threadpool(threads)
        program = Runtime.get().load_program(path)
        method: Any = program.load_method("forward")

    def run(x: Tensor, program: Any = program) -> Tensor:  # the method does not keep its program
        result: Tensor = method.execute([x.contiguous()])[0].clone()
        return result

    return run


def load_litert(path: Path, threads: int | None, precise: bool) -> Any:
    """A ``.tflite``, by LiteRT's interpreter."""
    with lenient():
        from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    exit_ = interpreter.get_output_details()[0]["index"]

    def run(x: Tensor) -> Tensor:
        interpreter.set_tensor(entry, x.numpy())
        interpreter.invoke()
        return torch.from_numpy(interpreter.get_tensor(exit_))

    return run


def load_ncnn(path: Path, threads: int | None, precise: bool) -> Any:
    """A ``.ncnn.param`` with its ``.ncnn.bin``, one picture at a time."""
    with lenient():
        import ncnn

    net: Any = ncnn.Net()
    net.opt.use_vulkan_compute = False
    if threads is not None:
        net.opt.num_threads = threads
    if precise:
        for kind in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{kind}", False)
    weights = path.with_name(path.name.removesuffix(".param") + ".bin")
    if net.load_param(str(path)) != 0 or net.load_model(str(weights)) != 0:
        raise InvalidArgument("path", "a network that ncnn reads", path.name)

    def run(x: Tensor) -> Tensor:
        results = []
        for picture in x:
            with net.create_extractor() as extractor:
                extractor.input(net.input_names()[0], ncnn.Mat(picture.contiguous().numpy()))
                results.append(np.array(extractor.extract(net.output_names()[0])[1]))
        return torch.from_numpy(np.stack(results))

    return run


def load_coreml(path: Path, threads: int | None, precise: bool) -> Any:
    """Refuses: only Apple's systems run a ``.mlpackage``."""
    raise InvalidArgument("path", "a file that a CPU runtime here can run", f"{path.name}: macOS")
