"""What stands in a checkpoint: which of its entries are the weights, which masks, which neither.

The rule, where several entries are weights: moving averages (EMA, SWA) before raw ones, as timm
loads them and as their accuracy is published; ``FILE#raw`` takes the raw ones, ``FILE#ENTRY`` any
entry by its name. Masks beside the weights are applied, whatever their entry is called, or
refused by its name (`masks_beside.py`). Whatever else the file holds is named as unused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsebench.models.checkpoints.masks_beside import masked
from sparsebench.models.checkpoints.walks import (
    DEEPEST,
    entries_of,
    holds_tensors,
    listed,
    refuse_tangle,
    words_of,
)
from sparsebench.models.checkpoints.wrappers import unwrapped_names
from sparsebench.models.errors import SparsebenchError

RAW, AVERAGED = "raw", "ema"
NESTS = ("state_dict", "model_state_dict", "model", "net", "module", "network", "weights")
_AVERAGES = {"ema", "swa", "averaged", "average", "avg", "shadow", "polyak"}
_INSIDE_AVERAGES = (*NESTS, "shadow", "ema_model", "ema_state_dict")


@dataclass(frozen=True)
class Chosen:
    """The weights of a file.

    Attributes:
        tensors: name -> tensor, wrappers' parts of names gone, masks applied.
        said: what a reader should know: which entry, which masks, what is not used.
    """

    tensors: dict[str, Tensor]
    said: dict[str, str] = field(default_factory=dict)


def is_average(name: str) -> bool:
    """Whether a name is one of averaged weights."""
    return bool(words_of(name) & _AVERAGES)


def choose(path: Path, payload: Any, wanted: str | None = None) -> Chosen:
    """The weights that a file's content holds.

    Args:
        path: of the file, for messages.
        payload: what the file holds, of any kind.
        wanted: ``raw``, ``ema`` or an entry's name; by default the rule above.

    Raises:
        SparsebenchError: there are none, several that no rule tells apart, no entry of that
            name, or masks that fit none of them.
    """
    refuse_tangle(path, payload)
    if isinstance(payload, list | tuple) and any(isinstance(one, Mapping) for one in payload):
        payload = {str(place): one for place, one in enumerate(payload)}
    entries = dict(entries_of(payload, ""))
    raw = _by_nests(payload)
    averages = [name for name in entries if is_average(name)]
    pick = _pick(path, entries, raw, averages, wanted)
    tensors = {str(k): v for k, v in entries[pick].items() if isinstance(v, Tensor)}
    named = list(tensors)
    tensors, bookkeeping = unwrapped_names(path, tensors)
    _refuse_unmet(path, wanted, pick, entries, [*named, *tensors])
    tensors, masks = masked(path, payload, pick, tensors, entries)
    said: dict[str, str] = {}
    others = [n for n in (raw, *averages) if n is not None and n in entries and n != pick]
    if others or is_average(pick) or wanted:
        kind = " (moving averages)" if is_average(pick) else ""
        left = f"; not used: {listed(dict.fromkeys(others))}" if others else ""
        said["weights"] = f"entry '{pick}'{kind}{left}" if pick else f"the file itself{left}"
        if others and wanted is None:
            said["weights"] += f" (name it {path.name}#{others[0]})"
    if masks:
        said["masks"] = "; ".join(f"'{name}' applied to {n} weights" for name, n in masks.items())
    if bookkeeping:
        said["ignored"] = f"{len(bookkeeping)} counters of tools ({listed(bookkeeping)})"
    roots = {pick.partition(".")[0], *(name.partition(".")[0] for name in masks)}
    if isinstance(payload, Mapping) and pick:
        beside = [str(key) for key, value in payload.items() if holds_tensors(value)]
        unused = [name for name in beside if name not in roots and name not in others]
        if unused:
            said["unused"] = listed(unused)
    return Chosen(tensors, said)


def _by_nests(payload: Any) -> str | None:
    """The usual names of what holds the weights, followed inwards; None where nothing does."""
    name: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(payload, Mapping):
            return None
        inner = next((n for n in NESTS if isinstance(payload.get(n), Mapping)), None)
        if inner is None:
            held = any(isinstance(value, Tensor) for value in payload.values())
            return ".".join(name) if held else None
        name.append(inner)
        payload = payload[inner]
    return None


def _pick(
    path: Path,
    entries: Mapping[str, Mapping[Any, Any]],
    raw: str | None,
    averages: Sequence[str],
    wanted: str | None,
) -> str:
    own = [n for n, e in entries.items() if not is_average(n) and "mask" not in n and _layers(e)]
    if wanted not in (None, RAW, AVERAGED):
        assert wanted is not None
        inside = [wanted, *(f"{wanted}.{nest}" for nest in _INSIDE_AVERAGES)]
        found = next((name for name in inside if name in entries), None)
        # What is no entry may be the first part of tensors' names; that is looked at later.
        if found is not None:
            return found
    elif wanted == AVERAGED and not averages and raw is None:
        raise SparsebenchError(
            f"'{path}' holds no averaged weights.", f"It holds {listed(entries) or 'none'}."
        )
    named = [n for n in averages if _layers(entries[n])]
    if wanted != RAW and named:
        return named[0]
    if raw is not None and raw in entries:
        return raw
    if len(own) == 1:
        return own[0]
    if len(own) > 1:
        raise SparsebenchError(
            f"'{path}' holds several networks: {listed(own)}.",
            f"Choose one: {path.name}#{own[0]}.",
        )
    raise SparsebenchError(
        f"'{path}' holds no state dict (a mapping of parameter names to tensors).",
        "Save one with torch.save(model.state_dict(), FILE).",
    )


def _refuse_unmet(
    path: Path, wanted: str | None, pick: str, entries: Iterable[str], names: Sequence[str]
) -> None:
    """Refuse a choice that is no entry and no part of a tensor's name.

    Args:
        path: of the file, for messages.
        wanted: what was asked for.
        pick: the entry that was found.
        entries: all of them.
        names: of the tensors in it, with and without what wrappers put there.

    Raises:
        SparsebenchError: nothing in the file is called so.
    """
    if wanted in (None, RAW):
        return
    if wanted == AVERAGED and any(is_average(name) for name in (pick, *names)):
        return
    inside = any(f".{wanted}." in f".{name}" for name in names)
    if inside or pick == wanted or pick.startswith(f"{wanted}."):
        return
    every = dict.fromkeys([*entries, *(name.partition(".")[0] for name in names)])
    raise SparsebenchError(
        f"'{path}' holds nothing called '{wanted}'.",
        f"It holds {listed(name for name in every if name)}.",
    )


def _layers(entry: Mapping[Any, Any]) -> int:
    """Weights of layers in an entry, masks of bools left out."""
    return sum(
        isinstance(value, Tensor) and value.dim() in (2, 4) and value.dtype != torch.bool
        for value in entry.values()
    )
