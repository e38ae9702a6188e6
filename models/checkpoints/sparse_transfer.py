"""The common format of "How Well Do Sparse ImageNet Models Transfer?" (CVPR 2022).

A dict with ``epoch``, ``model_config`` (``arch``, ``dataset``) and ``model_state_dict``.
Convolutions and linear layers are either plain or wrapped: ``conv1._layer.weight`` beside
``conv1._weight_mask`` (0 or 1, as floats). Masks of ones, which the authors' code makes
for plain files, say nothing; the zeros of the weights are the mask then. Old files wrap
twice, or put ``module.`` before every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.entries import choose
from sparsebench.models.checkpoints.layouts import in_our_layout, our_architecture
from sparsebench.models.errors import SparsebenchError

_STATE, _CONFIG = "model_state_dict", "model_config"


def is_common_format(payload: Any) -> bool:
    """Whether a file's content has the keys of the common format."""
    return (
        isinstance(payload, Mapping)
        and isinstance(payload.get(_STATE), Mapping)
        and isinstance(payload.get(_CONFIG), Mapping)
    )


def read_common_format(path: Path, payload: Mapping[str, Any], name: str) -> LoadedCheckpoint:
    """The effective weights under the suite's names, and the architecture.

    Args:
        path: of the file, for messages.
        payload: what :func:`is_common_format` recognised.
        name: of the format.

    Raises:
        SparsebenchError: a mask fits no weight, or is neither 0 nor 1.
    """
    tensors = unwrapped(path, choose(path, payload).tensors)
    tensors, arch = in_our_layout(tensors)
    config = payload[_CONFIG]
    metadata = {k: str(v) for k, v in config.items() if isinstance(v, str | int)}
    if "arch" in metadata:
        metadata["arch"] = arch or our_architecture(metadata["arch"])
    if isinstance(payload.get("epoch"), int):
        metadata["epoch"] = str(payload["epoch"])
    return LoadedCheckpoint(tensors, metadata, name)


def unwrapped(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights times masks, under the names of the layers that were wrapped.

    Raises:
        SparsebenchError: a mask fits no weight, or is neither 0 nor 1.
    """
    masks: list[tuple[str, Tensor]] = []
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = name.replace("._layer", "")
        layer, _, last = short.rpartition(".")
        if last in ("_weight_mask", "_bias_mask"):
            masks.append((f"{layer}.{last[1:].removesuffix('_mask')}", tensor))
        else:
            plain[short] = tensor
    for name, mask in masks:
        if name.endswith(".bias") and name not in plain:
            continue  # a mask of ones for a bias that the layer does not have
        if name not in plain or plain[name].shape != mask.shape:
            raise SparsebenchError(
                f"The mask of '{name}' in '{path}' fits no weight of the file.",
                "Save the state dict of the whole network.",
            )
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise SparsebenchError(
                f"The mask of '{name}' in '{path}' holds values other than 0 and 1.",
                "Save the weights already multiplied by their mask.",
            )
        plain[name] = plain[name].masked_fill(mask == 0, 0)
    return plain


def _recognises(opened: OpenedFile) -> bool:
    return opened.kind == "torch" and is_common_format(opened.payload)


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    return read_common_format(opened.path, opened.payload, SPARSE_TRANSFER.name)


SPARSE_TRANSFER = CheckpointFormat(
    "sparse_transfer", "common format of the sparse-transfer paper", _recognises, _load
)
