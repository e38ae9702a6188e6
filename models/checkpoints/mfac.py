"""M-FAC's own checkpoints: ``{"model": state dict, "mask": flat bool vector, "epoch": n}``.

The mask runs over a list of parameters that the file does not name. The authors' script
takes those whose name holds "conv" or "fc"; other lists that are tried are all
convolutions and linear layers, with and without the classifier. A list is taken if the mask
has its length and no weight that the mask prunes is other than zero, as where the weights were
multiplied by the mask before they were saved; or if it is the only one of that length and the
weights have no zeros of their own, which another order of the flags would contradict.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import in_our_layout
from sparsebench.models.checkpoints.state_dict import unnest
from sparsebench.models.errors import SparsebenchError


def apply_flat_mask(path: Path, tensors: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    """Weights with what the flat mask prunes set to zero.

    Args:
        path: of the file, for messages.
        tensors: in the network's order.
        mask: bool [n] over the weights of one of the lists above.

    Raises:
        SparsebenchError: the mask fits none of the lists.
    """
    fitting: list[dict[str, Tensor]] = []
    for names in {tuple(names): None for names in _lists(tensors)}:
        sizes = [tensors[name].numel() for name in names]
        if sum(sizes) == mask.numel():
            parts = zip(names, torch.split(mask, sizes), strict=True)
            fitting.append({n: part.reshape(tensors[n].shape) for n, part in parts})
    applied = [k for k in fitting if not any(bool(tensors[n][~k[n]].any()) for n in k)]
    unapplied = fitting if len(fitting) == 1 and _all_there(tensors, fitting[0]) else []
    for kept in applied[:1] or unapplied:
        return dict(tensors) | {n: tensors[n].masked_fill(~k, 0) for n, k in kept.items()}
    raise SparsebenchError(
        f"The flat mask in '{path}' ({mask.numel()} flags) fits no list of the network's weights.",
        "Save the weights multiplied by their mask, without the mask.",
    )


def _all_there(tensors: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> bool:
    return all(bool(tensors[name].all()) for name in kept)


def _lists(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    weights = [n for n, t in tensors.items() if n.endswith(".weight") and t.dim() in (2, 4)]
    named = [n for n in weights if "conv" in n or "fc" in n]
    return [named, weights, [n for n in named if "fc" not in n], weights[:-1], weights[1:]]


def _recognises(opened: OpenedFile) -> bool:
    payload: Any = opened.payload if opened.kind == "torch" else None
    if not isinstance(payload, Mapping) or not isinstance(payload.get("model"), Mapping):
        return False
    mask = payload.get("mask")
    return isinstance(mask, Tensor) and mask.dim() == 1


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path, payload = opened.path, opened.payload
    mask = payload["mask"]
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise SparsebenchError(
            f"The mask in '{path}' holds values other than 0 and 1.",
            "Save the weights already multiplied by their mask.",
        )
    tensors = unnest(path, payload["model"])
    tensors, arch = in_our_layout(apply_flat_mask(path, tensors, mask.bool()))
    return LoadedCheckpoint(tensors, {"arch": arch} if arch else {}, MFAC.name)


MFAC = CheckpointFormat("mfac", "M-FAC's original, with one flat mask", _recognises, _load)
