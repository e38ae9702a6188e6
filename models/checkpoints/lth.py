"""Lottery tickets of "The Lottery Tickets Hypothesis for ... Pre-training" (Chen et al. 2021).

A dict with ``state_dict`` (torch.nn.utils.prune's names: ``X.weight_orig`` beside
``X.weight_mask``), ``mask``, ``init_weight`` (the weights that the ticket rewinds to),
``if_pruned``, ``state`` (round) and ``arch``. What the file's network computes with is
weight_orig * weight_mask; the first convolution and the classifier are not pruned.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import our_architecture
from sparsebench.models.checkpoints.state_dict import apply_stored_masks, unnest


def _recognises(opened: OpenedFile) -> bool:
    payload = opened.payload if opened.kind == "torch" else None
    return (
        isinstance(payload, Mapping)
        and isinstance(payload.get("state_dict"), Mapping)
        and {"init_weight", "if_pruned"} <= payload.keys()
    )


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path, payload = opened.path, opened.payload
    state_dict = unnest(path, payload["state_dict"])
    metadata = {k: str(payload[k]) for k in ("epoch", "state") if isinstance(payload.get(k), int)}
    if isinstance(payload.get("arch"), str):
        metadata["arch"] = our_architecture(payload["arch"])
    return LoadedCheckpoint(apply_stored_masks(path, state_dict), metadata, LTH.name)


LTH = CheckpointFormat("lth", "a lottery ticket with its initial weights", _recognises, _load)
