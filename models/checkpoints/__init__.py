"""Checkpoint files: recognising what a file is and reading its tensors.

A format is one :class:`CheckpointFormat` in a file of its own and one line in
:data:`FORMATS`; code outside this repository adds its own through the entry-point group
``sparsebench.checkpoints``. Every format is asked whether it recognises a file; the
plain state dict, which would take almost anything, is asked last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from sparsebench.models.checkpoints.containers import OpenedFile

FORMATS = Registry(
    "checkpoint format",
    "sparsebench.checkpoints",
    {
        "compact": "sparsebench.models.checkpoints.compact:COMPACT",
        "efficientnet_lite": "sparsebench.models.checkpoints.efficientnet_lite:EFFICIENTNET_LITE",
        "deep_compression": "sparsebench.models.checkpoints.deep_compression:DEEP_COMPRESSION",
        "darknet": "sparsebench.models.checkpoints.darknet:DARKNET",
        "onnx": "sparsebench.models.checkpoints.onnx_weights:ONNX",
        "acdc": "sparsebench.models.checkpoints.acdc:ACDC",
        "sparse_transfer": "sparsebench.models.checkpoints.sparse_transfer:SPARSE_TRANSFER",
        "mfac": "sparsebench.models.checkpoints.mfac:MFAC",
        "str": "sparsebench.models.checkpoints.str_threshold:STR",
        "lth": "sparsebench.models.checkpoints.lth:LTH",
        "torch_prune": "sparsebench.models.checkpoints.torch_prune:TORCH_PRUNE",
        "sparseml": "sparsebench.models.checkpoints.sparseml:SPARSEML",
        "rigl": "sparsebench.models.checkpoints.rigl:RIGL",
        "mobilenet_v1": "sparsebench.models.checkpoints.mobilenet_v1:MOBILENET_V1",
        "timm_mobilenet": "sparsebench.models.checkpoints.timm_mobilenet:TIMM_MOBILENET",
        "yolov5": "sparsebench.models.checkpoints.yolov5:YOLOV5",
        "state_dict": "sparsebench.models.checkpoints.state_dict:STATE_DICT",
    },
)
_LAST = "state_dict"
# Formats that say by themselves where their masks stand.
_OWN_MASKS = {"mfac", "lth"}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What was read from a file.

    Args:
        state_dict: parameter and buffer names as the architecture has them -> tensors on
            the CPU; masks and thresholds that the format keeps apart are applied.
        metadata: what the file says of itself, e.g. ``arch`` and ``num_classes``.
        format: name of the format that read it.
        entry: which of the file's networks was asked for, None for the usual one.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, str]
    format: str
    entry: str | None = None


@dataclass(frozen=True)
class CheckpointFormat:
    """One kind of checkpoint.

    Args:
        name: key in the registry.
        description: a line for a reader.
        recognises: whether a file is of this kind; must not fail on foreign files.
        load: reads a file that was recognised; raises SparsebenchError, naming the file,
            where it is damaged.
    """

    name: str
    description: str
    recognises: Callable[[OpenedFile], bool]
    load: Callable[[OpenedFile], LoadedCheckpoint]


def split_entry(source: str) -> tuple[Path, str | None]:
    """A file and which of its networks is meant: ``FILE#ema`` -> FILE, "ema"."""
    path = Path(source).expanduser()
    name, mark, entry = source.rpartition("#")
    if not mark or not name or not entry or path.exists() or "/" in entry:
        return path, None
    return Path(name).expanduser(), entry


def load_checkpoint(path: str | Path, entry: str | None = None) -> LoadedCheckpoint:
    """Read a checkpoint of any known format; nothing in it is executed.

    Args:
        path: a file.
        entry: which of its networks: ``raw``, ``ema``, an entry's name or the first part of
            tensors' names; the usual one by default (``models/checkpoints/entries.py``).

    Raises:
        SparsebenchError: the file is missing, damaged, or of no known format.
    """
    from sparsebench.models.checkpoints.containers import open_file

    opened = open_file(Path(path), entry)
    for name in [n for n in FORMATS if n != _LAST] + [_LAST]:
        checkpoint_format = FORMATS.load(name)
        assert isinstance(checkpoint_format, CheckpointFormat)
        if _recognised(checkpoint_format, opened):
            loaded = _loaded(checkpoint_format, opened)
            read = opened.__dict__.get("chosen") if name not in _OWN_MASKS else None
            said = read.said if read is not None else {}
            return replace(loaded, metadata={**loaded.metadata, **said}, entry=entry)
    raise SparsebenchError(
        f"'{path}' is not a checkpoint of a known format ({', '.join(FORMATS)}).",
        "Give a PyTorch state dict (.pth, .pt) or a .safetensors file.",
    )


# What code makes of names and shapes that it did not expect.
SURPRISES = (IndexError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)


def _recognised(checkpoint_format: CheckpointFormat, opened: OpenedFile) -> bool:
    try:
        return checkpoint_format.recognises(opened)
    except SURPRISES:
        return False


def _loaded(checkpoint_format: CheckpointFormat, opened: OpenedFile) -> LoadedCheckpoint:
    try:
        return checkpoint_format.load(opened)
    except SURPRISES as error:
        raise SparsebenchError(
            f"'{opened.path}' looks like {checkpoint_format.description}, but its tensors are "
            f"not what belongs there ({error}).",
            "The file is damaged, or not what its names say; take another one.",
        ) from None
