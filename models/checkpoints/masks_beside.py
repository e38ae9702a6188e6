"""Masks that stand in a checkpoint beside its weights or among them, whatever they are called.

They are applied, or refused by the name of their entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsebench.models.checkpoints.walks import DEEPEST, TRAINING, holds_tensors, words_of
from sparsebench.models.checkpoints.wrappers import plain_name
from sparsebench.models.errors import SparsebenchError

# Masks among the weights: ``layer.mask`` beside ``layer.weight``, or all behind ``masks.``.
_PREFIX = re.compile(r"^masks?\.")
_LOOSE = re.compile(r"^masks?\.|\.masks?$")
# Words in the name of masks of which nobody can tell whether their ones stay or go.
_REMOVED = {"dropped", "inverse", "inverted", "pruned", "removed", "zero", "zeroed", "zeros"}


def masked(
    path: Path,
    payload: Any,
    pick: str,
    tensors: dict[str, Tensor],
    entries: Mapping[str, Mapping[Any, Any]],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Weights with every mask applied that the file holds.

    Args:
        path: of the file, for messages.
        payload: all that it holds.
        pick: the entry of the weights.
        tensors: the weights, and masks that stand among them, wrappers' parts of names gone.
        entries: every entry with tensors of its own, by its name.

    Returns:
        The weights alone; and the name of each entry of masks -> how many weights it masks.

    Raises:
        SparsebenchError: masks that fit no weight, or are called after what they remove.
    """
    masks = {n: v for n, v in _masks(payload, "") if n != pick and not pick.startswith(f"{n}.")}
    loose = {n: t for n, t in tensors.items() if _LOOSE.search(n)}
    weights = {n: t for n, t in tensors.items() if n not in loose}
    if loose and all(_weight_of(_PREFIX.sub("", n), weights) for n in loose):
        tensors, masks["mask"] = weights, {_PREFIX.sub("", n): t for n, t in loose.items()}
    for name, entry in entries.items():
        if name not in (pick, *masks) and _are_flags(entry, tensors):
            masks[name] = entry
    for name, listed in payload.items() if isinstance(payload, Mapping) else ():
        flags = _flat_masks(listed, tensors) if isinstance(listed, list | tuple) else None
        if flags and str(name) not in masks and _are_flags(flags, tensors):
            masks[str(name)] = listed
    counts: dict[str, int] = {}
    for name, mask in masks.items():
        tensors, counts[name] = _masked(path, name, mask, tensors)
    return tensors, counts


def _masks(payload: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Entries that are masks by their name, or by holding nothing but bools."""
    if not isinstance(payload, Mapping) or depth > DEEPEST:
        return
    for key, value in payload.items():
        if not isinstance(key, str):
            continue
        full = f"{name}.{key}" if name else key
        by_name = bool(words_of(key) & {"mask", "masks"}) or key.lower().endswith(("mask", "masks"))
        if isinstance(value, Tensor):
            if key.lower() in ("mask", "masks"):  # others are masks under a weight's name
                yield full, value
        elif by_name and holds_tensors(value):
            yield full, value
        elif isinstance(value, Mapping) and value and not words_of(key) & TRAINING:
            flags = [isinstance(v, Tensor) and v.dtype == torch.bool for v in value.values()]
            if all(flags):
                yield full, value
            else:
                yield from _masks(value, full, depth + 1)


def _are_flags(entry: Mapping[Any, Any], weights: Mapping[str, Tensor]) -> bool:
    """Whether an entry of any name holds zeros and ones, both, in the shapes of its weights."""
    flags = [value for value in entry.values() if isinstance(value, Tensor)]
    for name, value in entry.items():
        target = _weight_of(name, weights) if isinstance(name, str) else None
        if not isinstance(value, Tensor) or target is None or value.dim() not in (2, 4):
            return False
        if value.shape != weights[target].shape or not bool(((value == 0) | (value == 1)).all()):
            return False
    return any(bool(one.any()) for one in flags) and any(not bool(one.all()) for one in flags)


def _masked(
    path: Path, entry: str, mask: Any, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], int]:
    """Weights with what an entry of masks prunes set to zero, and how many weights it masks.

    Raises:
        SparsebenchError: naming the entry, where it fits no weight, holds other values, or is
            called after what it removes.
    """
    if words_of(entry.rpartition(".")[2]) & _REMOVED:
        raise SparsebenchError(
            f"The masks '{entry}' in '{path}' are called after what is removed: whether their ones "
            "stay or go, nothing tells.",
            "Save the weights already multiplied by their masks.",
        )
    flat = _flat_masks(mask, tensors)
    if flat is None:
        raise SparsebenchError(
            f"The masks '{entry}' in '{path}' do not say which weights they are of.",
            "Save the weights multiplied by their masks, or the masks under the weights' names.",
        )
    masked, count = dict(tensors), 0
    for name, flags in flat.items():
        if not bool(((flags == 0) | (flags == 1)).all()):
            raise SparsebenchError(
                f"The mask '{name}' of '{entry}' in '{path}' holds values other than 0 and 1.",
                "Save the weights already multiplied by their mask.",
            )
        target = _weight_of(name, tensors)
        if target is None or not _spreads(flags, tensors[target]):
            if bool((flags == 1).all()) and target is None:
                continue  # of a bias that the layer does not have
            raise SparsebenchError(
                f"The mask '{name}' of '{entry}' in '{path}' fits no weight of the file.",
                "Save the weights already multiplied by their masks.",
            )
        # masked_fill instead of a product: NaN or minus times zero must be zero.
        masked[target] = masked[target].masked_fill(flags == 0, 0)
        count += 1
    return masked, count


def _flat_masks(mask: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Name -> mask, of a mapping (also of layers to mappings) or a list in the weights' order."""
    if isinstance(mask, Mapping):
        found: dict[str, Tensor] = {}
        for key, value in mask.items():
            if isinstance(value, Tensor) and isinstance(key, str):
                found[key] = value
            elif isinstance(value, Mapping) and isinstance(key, str):
                inner = _flat_masks(value, tensors)
                if inner is None:
                    return None
                found.update({f"{key}.{name}": flags for name, flags in inner.items()})
            elif isinstance(value, Tensor):
                return None
        return found
    weights = {n: t for n, t in tensors.items() if t.dim() in (2, 4)}
    if isinstance(mask, list | tuple) and all(isinstance(one, Tensor) for one in mask):
        for names in (list(weights), list(weights)[:-1], list(weights)[1:], list(weights)[1:-1]):
            if [tuple(one.shape) for one in mask] == [tuple(weights[n].shape) for n in names]:
                return dict(zip(names, mask, strict=True))
    return None


def _weight_of(name: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The tensor that a mask's name means."""
    plain = plain_name(name)
    stems = [
        plain,
        re.sub(r"[._]masks?$", "", plain),
        re.sub(r"[._]masks?$", "", plain) + ".weight",
    ]
    stems += [stem.removeprefix("module.") for stem in stems]
    stems += [f"module.{stem}" for stem in stems]
    for stem in stems:
        for candidate in (stem, f"{stem}_orig", re.sub(r"\.weight$", ".weight_orig", stem)):
            if candidate in tensors:
                return candidate
    # Behind a prefix that the weights have and the masks lack, where that is the only place.
    ending = [n for n in tensors if any(n.endswith(f".{stem}") for stem in stems[:3])]
    return ending[0] if len(ending) == 1 else None


def _spreads(flags: Tensor, weight: Tensor) -> bool:
    same = flags.dim() == weight.dim()
    return same and all(a in (1, b) for a, b in zip(flags.shape, weight.shape, strict=True))
