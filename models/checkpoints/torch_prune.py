"""State dicts of networks pruned with ``torch.nn.utils.prune``, not made permanent.

``X.weight_orig`` stands beside ``X.weight_mask``; what counts is their product.
"""

from __future__ import annotations

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import in_our_layout
from sparsebench.models.checkpoints.state_dict import apply_stored_masks, texts_of


def _recognises(opened: OpenedFile) -> bool:
    return any(name.endswith(".weight_orig") for name in opened.tensors)


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path, payload = opened.path, opened.payload
    tensors = apply_stored_masks(path, opened.chosen.tensors)
    tensors, arch = in_our_layout(tensors)
    metadata = {**texts_of(payload), **opened.metadata}
    if arch:
        metadata["arch"] = arch
    return LoadedCheckpoint(tensors, metadata, TORCH_PRUNE.name)


TORCH_PRUNE = CheckpointFormat(
    "torch_prune", "torch.nn.utils.prune: weight_orig and weight_mask", _recognises, _load
)
