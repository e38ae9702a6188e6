"""Images of a training beside its network, in the GPU's memory, where they fit."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import torch

from sparsebench.bench.images import DeviceImages, ResizedImages, Source, Subset
from sparsebench.bench.training.source import TrainingData

# The rest of what is free is for the training.
FREE_SHARE = 0.5


def placed(
    data: TrainingData, device: str, *, free: int | None = None
) -> tuple[TrainingData, dict[str, Any]]:
    """The images on the device if they take up at most half of what is free there.

    Args:
        data: decoded images in the host's memory, or mapped from a file.
        device: where they are to be.
        free: bytes; None for what the GPU has.

    Returns:
        The images, there or as they were, and the facts ``data_on_device`` and
        ``data_bytes``.
    """
    splits = (data.train, data.validation, data.test)
    wholes = {id(whole): whole for whole in map(_whole, splits) if whole is not None}
    size = sum(len(whole.pixels) for whole in wholes.values())
    facts = {"data_on_device": False, "data_bytes": size}
    if None in map(_whole, splits):
        return data, facts
    if size > FREE_SHARE * (_free(device) if free is None else free):
        return data, facts
    # Training and validation are parts of the same images, which are copied once.
    there = {key: DeviceImages.copied(whole, device) for key, whole in wholes.items()}

    def on_device(source: Source) -> DeviceImages:
        copied = there[id(_whole(source))]
        return copied.subset(source.indices) if isinstance(source, Subset) else copied

    train, validation, test = map(on_device, splits)
    facts["data_on_device"] = True
    return replace(data, train=train, validation=validation, test=test), facts


def _whole(source: Source) -> ResizedImages | None:
    whole = source.whole if isinstance(source, Subset) else source
    return whole if isinstance(whole, ResizedImages) else None


def _free(device: str) -> int:
    gc.collect()  # what an earlier training left behind is free too
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])
