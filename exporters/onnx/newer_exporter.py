"""torch's newer exporter, ``torch.onnx.export(dynamo=True)``, as it is used here."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from sparsebench.exporters.onnx.plain_functions import plain_pooling
from sparsebench.exporters.onnx.usual_forms import in_usual_forms

OPSET = 18
"""The one that it is written in; others are converted."""
_IR_VERSION = 8  # of that opset; it writes 10, which DeepSparse refuses


def write(
    module: nn.Module, example: Tensor, path: Path, input_name: str, output_name: str
) -> None:
    """Write a network, any number of images, in the forms that engines have fast paths for.

    Args:
        module: in eval mode.
        example: float32 ``[2, 3, size, size]``.
        path: file to write.
        input_name: of the images.
        output_name: of what is computed.
    """
    with contextlib.redirect_stdout(io.StringIO()), plain_pooling(), _one_registry():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[input_name],
            output_names=[output_name],
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = _IR_VERSION
    in_usual_forms(model)
    onnx.save(model, str(path))


@contextlib.contextmanager
def _one_registry() -> Iterator[None]:
    """Inside, torch's table of ONNX functions is made once in a process.

    It makes the table anew for each network, 0.8 s of processor time. Nothing that we ask for
    changes the table. It is no public name: where it is not found, nothing is saved.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        before = ONNXRegistry.__dict__["from_torchlib"]
    except (ImportError, KeyError):
        yield
        return
    made = _tables(before.__func__ if isinstance(before, classmethod) else before)
    ONNXRegistry.from_torchlib = classmethod(made)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        ONNXRegistry.from_torchlib = before  # type: ignore[method-assign]


@cache
def _tables(make: Any) -> Any:
    return cache(make)
