"""Plain PyTorch state dicts, as ``.pth`` / ``.pt`` or ``.safetensors``.

Understood are the usual wrappings: the state dict inside ``{"state_dict": ...}`` and the
like, names behind ``module.`` (DataParallel) or ``_orig_mod.`` (torch.compile), and masks
kept beside the weights (``weight_mask``, or an entry of their own). torchvision's SqueezeNet
has a 1x1 convolution as classifier, which becomes the same matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.entries import choose
from sparsebench.models.errors import SparsebenchError

Tensors = dict[str, Tensor]
_TEXTS = ("arch", "num_classes")


def _recognises(opened: OpenedFile) -> bool:
    return opened.kind in ("safetensors", "torch")


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    payload = opened.payload
    metadata = {**texts_of(payload), **opened.metadata}
    tensors = apply_stored_masks(opened.path, opened.chosen.tensors)
    if "classifier.1.weight" in tensors and "features.3.squeeze.weight" in tensors:
        tensors = {n.replace("classifier.1.", "classifier."): t for n, t in tensors.items()}
        tensors["classifier.weight"] = tensors["classifier.weight"].flatten(1)
    return LoadedCheckpoint(tensors, metadata, STATE_DICT.name)


STATE_DICT = CheckpointFormat(
    "state_dict", "a PyTorch state dict (.pth, .pt, .safetensors)", _recognises, _load
)


def unnest(path: Path, payload: Any) -> dict[str, Tensor]:
    """The state dict inside a part of what a file holds, wrappers' parts of names gone.

    Raises:
        SparsebenchError: there is no mapping of names to tensors.
    """
    return choose(path, payload).tensors


def apply_stored_masks(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply weights by masks that are stored beside them, and drop the masks.

    ``X_orig`` with ``X_mask`` becomes ``X = X_orig * X_mask``; ``X`` with ``X_mask``
    becomes ``X * X_mask``.

    Raises:
        SparsebenchError: a mask has another shape than its weight, values other than
            0 and 1, or no weight at all; or a weight's mask is missing.
    """
    plain = {n: t for n, t in tensors.items() if not n.endswith(("_mask", "_orig"))}
    for mask_name in [n for n in tensors if n.endswith("_mask")]:
        name = mask_name.removesuffix("_mask")
        weight = tensors.get(f"{name}_orig", tensors.get(name))
        mask = tensors[mask_name]
        if weight is None and name.endswith("bias") and bool((mask == 1).all()):
            continue  # of a bias that the layer does not have
        if weight is None or weight.shape != mask.shape:
            raise SparsebenchError(
                f"The mask '{mask_name}' in '{path}' fits no weight of the file.",
                "Save the state dict of the whole network.",
            )
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise SparsebenchError(
                f"The mask '{mask_name}' in '{path}' holds values other than 0 and 1.",
                "Save the weights already multiplied by their mask.",
            )
        # masked_fill instead of a product: NaN or minus times zero must be zero.
        plain[name] = weight.masked_fill(mask == 0, 0)
    for original in [n for n in tensors if n.endswith("_orig")]:
        if original.removesuffix("_orig") not in plain:
            raise SparsebenchError(
                f"'{path}' holds '{original}' without its mask.",
                "Save the state dict of the whole network.",
            )
    return plain


def texts_of(payload: Any) -> dict[str, str]:
    """What a payload says in text beside its tensors: architecture and class count."""
    if not isinstance(payload, Mapping):
        return {}
    return {k: str(payload[k]) for k in _TEXTS if isinstance(payload.get(k), str | int)}
