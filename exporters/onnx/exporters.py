"""torch's two ONNX exporters, in the order in which they are tried.

Measured in November 2026 with torch 2.15, onnxscript 0.7.2 and 90 % sparse random weights: 22
convolutional networks and transformers. Both exporters write the same weights bit for bit and the
same zeros; outputs are PyTorch's to 1.2e-6 of their range. The newer one has produced no wrong
network. The TorchScript one is first, because

- it takes 0.2-2.2 s of processor time a network, the newer one 4-18 s;
- what DeepSparse 1.8 executes of its graphs: ViT-Tiny all (the other's: 98 %, 1.3 times as long),
  MobileNetV3-Small 79 % (nothing). ResNets are equal, once pooling is written in an older form
  (:mod:`sparsebench.exporters.onnx.old_forms`). ConvNeXt-Atto is the exception: all of it is
  executed and the result is NaN at 128 px (95 %, and right);
- ``native`` refuses the ConvNeXts of the newer one (a ``Gather``);
- on ONNX Runtime ViT-Tiny took 634 ms with it and 693 with the other, on ``native`` 373 and 392, on
  OpenVINO 445 and 434 (16 images, one thread, busy machine).

The newer one writes what TorchScript cannot. A newer torch may have it alone.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from sparsebench.exporters.onnx.attention import plain_attention
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import install_command

INPUT, OUTPUT = "images", "output"
EXTRA = "sparsebench[export]"
_OPTIONS: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT]}


@dataclass(frozen=True)
class Exporter:
    """One of them.

    Attributes:
        name: as records say it; another one wherever it may write another file.
        opset: of its files.
        write: network in eval mode, example images, file.
        needs: module that must be installed beside torch, or nothing.
    """

    name: str
    opset: int
    write: Callable[[nn.Module, Tensor, Path], None]
    needs: str = ""


def _torchscript(module: nn.Module, example: Tensor, path: Path) -> None:
    # The newest opset that every engine reads is 13; that this exporter is deprecated is known.
    axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    torch.onnx.export(
        module, (example,), str(path), dynamo=False, opset_version=13, dynamic_axes=axes, **_OPTIONS
    )


def _dynamo(module: nn.Module, example: Tensor, path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # its progress
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=True,
            opset_version=18,  # the one that it is written in; others are converted
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            **_OPTIONS,
        )
    model = onnx.load(str(path))
    model.ir_version = 8  # of opset 18; it writes 10, which DeepSparse refuses
    onnx.save(model, str(path))


EXPORTERS = (
    Exporter("torchscript-opset13-1", 13, _torchscript),
    Exporter("dynamo-opset18-1", 18, _dynamo, needs="onnxscript"),
)
KEY = "+".join(exporter.name for exporter in EXPORTERS)
"""Part of the keys of whatever is kept of an export."""


def export(module: nn.Module, example: Tensor, path: Path) -> Exporter:
    """Write a network by the first exporter that can.

    Args:
        module: in eval mode.
        example: float32 ``[2, 3, size, size]``; the file takes any number of images.
        path: file to write.

    Returns:
        What has written it.

    Raises:
        SparsebenchError: none can, with what each says.
    """
    said: list[str] = []
    for exporter in EXPORTERS:
        if exporter.needs and find_spec(exporter.needs) is None:
            raise SparsebenchError(
                f"{said[0]}; its newer exporter is not installed.",
                f"Install what that needs: {install_command(EXTRA)}",
            )
        try:
            with warnings.catch_warnings(), torch.no_grad(), plain_attention():
                warnings.simplefilter("ignore")
                exporter.write(module, example, path)
        except OSError:  # a full disk
            raise
        except Exception as error:  # whatever it says of an operator
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            said.append(f"torch's exporter {exporter.name} cannot write the network: {first}")
            continue
        return exporter
    raise SparsebenchError(f"{'; '.join(said)}.", "Write its ONNX file yourself, and name that.")
