"""torch's two ONNX exporters: which of them writes a network's file.

The newer one (``torch.onnx.export(dynamo=True)``, onnxscript) does, unless

- an engine of the comparison executes older graphs only (its ``opset``; DeepSparse): the
  TorchScript one comes first then. One file serves all engines;
- it cannot write the network, or what it has written is wrong (outputs, zeros), or an engine that
  was asked for cannot read it (:mod:`sparsebench.exporters.onnx.gate`).

An artifact says which wrote its file, and what kept the newer one from it.

Both were compared in November 2026 on 22 convolutional networks and transformers (torch 2.15,
onnxscript 0.7.2, 90 % sparse random weights): the same weights bit for bit, the same zeros, outputs
PyTorch's to 1.2e-6 of their range. That the newer one "has produced wrong ResNets", as was once
written here, was not seen with any.On 1 December 2026 (two cores of an Intel with AMX, load 6;
process time of one thread, minima of few interleaved visits, 16 images; TorchScript's first):

- ResNet-18, 64 px: ONNX Runtime 63 and 64 ms, OpenVINO 71 and 67, ``native`` 6.5 and 6.3;
- ViT-Tiny: ONNX Runtime 466 and 471, OpenVINO 372 and 352, ``native`` 240 and 238;
- ConvNeXt-Atto: ONNX Runtime 263 and 235, OpenVINO 188 and 187, ``native`` 127 and 125. Before GELU
  was written as ONNX Runtime fuses it (:mod:`sparsebench.exporters.onnx.usual_forms`), in another
  job, 226 and 333;
- writing takes TorchScript 0.3-0.6 s of processor time a network; the newer one 2.0 (ConvNeXt),
  2.4 (ResNet), 4.5 (ViT) and 7.9 (MobileNetV3-Small), with 3.4 more in a process for imports and
  torch's table of functions, and the look at its file 0.1-0.5. Of a ViT's, torch's tracing takes
  1.2, its decomposition (two further tracings) 2, onnxscript's optimizer 1: none of it is ours. The
  table was made anew for each network (0.8 s) and is kept now;
- DeepSparse 1.8 executes all of TorchScript's ViT-Tiny and 79 % of its MobileNetV3-Small, of the
  newer one's 98 % (1.3 times as long) and nothing. Hence its ``opset``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.exporters.onnx import newer_exporter
from sparsebench.exporters.onnx.gate import why_wrong
from sparsebench.exporters.onnx.plain_functions import plain_attention
from sparsebench.exporters.onnx.readers import ANY, Readers
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import install_command

INPUT, OUTPUT = "images", "output"


@dataclass(frozen=True)
class Exporter:
    """One of them.

    Attributes:
        name: as records say it; another one wherever it may write another file.
        opset: of its files.
        write: network in eval mode, example images, file.
        needs: module that must be installed beside torch, or nothing.
        checked: whether its files are looked at before they are taken, where another exporter
            could write them. Before any clock starts all are looked at.
    """

    name: str
    opset: int
    write: Callable[[nn.Module, Tensor, Path], None]
    needs: str = ""
    checked: bool = False


@dataclass(frozen=True)
class Written:
    """What has written a file.

    Attributes:
        exporter: its name.
        opset: of the file.
        instead: why not the one that comes before it, or nothing.
    """

    exporter: str
    opset: int
    instead: str = ""

    def to_facts(self) -> dict[str, Any]:
        """What an artifact and a record say of it."""
        return {"exporter": self.exporter, "opset": self.opset, "exporter_instead": self.instead}


def _torchscript(module: nn.Module, example: Tensor, path: Path) -> None:
    # The newest opset that every engine executes is 13; that this exporter is deprecated is known.
    axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    torch.onnx.export(
        module,
        (example,),
        str(path),
        dynamo=False,
        opset_version=13,
        dynamic_axes=axes,
        input_names=[INPUT],
        output_names=[OUTPUT],
    )


def _dynamo(module: nn.Module, example: Tensor, path: Path) -> None:
    newer_exporter.write(module, example, path, INPUT, OUTPUT)


EXPORTERS = (
    Exporter("dynamo-opset18-2", newer_exporter.OPSET, _dynamo, "onnxscript", checked=True),
    Exporter("torchscript-opset13-1", 13, _torchscript),
)
"""In the order in which they are tried where no engine says otherwise."""


def key_of(readers: Readers) -> str:
    """Part of the keys of whatever is kept of an export for these readers."""
    return f"{'+'.join(exporter.name for exporter in EXPORTERS)} for {readers.key}"


def export(module: nn.Module, example: Tensor, path: Path, readers: Readers = ANY) -> Written:
    """Write a network by the first exporter whose file is right and can be read.

    Args:
        module: in eval mode.
        example: float32 ``[2, 3, size, size]``; the file takes any number of images.
        path: file to write.
        readers: the engines that it is for.

    Raises:
        SparsebenchError: none can, with what each says.
    """
    spare, unread = path.with_name(f"{path.name}.spare"), None
    limit = readers.opset
    order = sorted(EXPORTERS, key=lambda one: limit is not None and one.opset > limit)
    instead = f"{readers.limited_by} executes opset {limit}" if order[0] != EXPORTERS[0] else ""
    said: list[str] = []
    fix = "Write its ONNX file yourself, and name that."
    for exporter in order:
        if exporter.needs and find_spec(exporter.needs) is None:
            said.append(f"{exporter.name} needs {exporter.needs}, which is not installed")
            fix = f"Install it: {install_command(exporter.needs)}"
            continue
        try:
            with warnings.catch_warnings(), torch.no_grad(), plain_attention():
                warnings.simplefilter("ignore")
                exporter.write(module, example, path)
        except OSError:  # a full disk
            raise
        except Exception as error:  # whatever it says of an operator
            first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            said.append(f"{exporter.name} cannot write the network: {first}")
            continue
        if exporter.checked and exporter != order[-1]:
            if wrong := why_wrong(module, path, example):
                said.append(f"{exporter.name}: {wrong}")
                continue
            if refused := readers.refusal(path, _shape(example)):
                said.append(f"{exporter.name}: {refused}")
                path.replace(spare)
                unread = exporter
                continue
        spare.unlink(missing_ok=True)
        return Written(exporter.name, exporter.opset, said[0] if said else instead)
    if unread is not None:  # the other engines can have it
        spare.replace(path)
        return Written(unread.name, unread.opset)
    raise SparsebenchError(f"torch's exporter {'; '.join(said)}.", fix)


def _shape(example: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = example.shape
    return channels, height, width
