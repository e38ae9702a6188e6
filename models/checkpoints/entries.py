"""What stands in a checkpoint: which of its entries are the weights, which masks, which neither.

The rule, where several entries are weights: moving averages (EMA, SWA) before raw ones, as timm
loads them and as their accuracy is published; ``FILE#raw`` takes the raw ones, ``FILE#ENTRY`` any
entry by its name. Masks beside the weights are applied, whatever their entry is called, or
refused by its name. Whatever else the file holds is named as unused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsebench.models.checkpoints.wrappers import plain_name, unwrapped_names
from sparsebench.models.errors import SparsebenchError

RAW, AVERAGED = "raw", "ema"
NESTS = ("state_dict", "model_state_dict", "model", "net", "module", "network", "weights")
_AVERAGES = {"ema", "swa", "averaged", "average", "avg", "shadow", "polyak"}
_INSIDE_AVERAGES = (*NESTS, "shadow", "ema_model", "ema_state_dict")
_TRAINING = {
    "amp", "optim", "optimizer", "optimizers", "optimizer_state_dict", "rng", "scaler", "sched",
    "scheduler", "schedulers",
}  # fmt: skip
# Masks among the weights: ``layer.mask`` beside ``layer.weight``, or all behind ``masks.``.
_PREFIX = re.compile(r"^masks?\.")
_LOOSE = re.compile(r"^masks?\.|\.masks?$")
# Words in the name of masks of which nobody can tell whether their ones stay or go.
_REMOVED = {"dropped", "inverse", "inverted", "pruned", "removed", "zero", "zeroed", "zeros"}
_DEEPEST = 5
_MOST_CONTAINERS = 100_000
_SHOWN = 6


@dataclass(frozen=True)
class Chosen:
    """The weights of a file.

    Attributes:
        tensors: name -> tensor, wrappers' parts of names gone, masks applied.
        said: what a reader should know: which entry, which masks, what is not used.
    """

    tensors: dict[str, Tensor]
    said: dict[str, str] = field(default_factory=dict)


def words_of(name: str) -> set[str]:
    """A name's words: ``model_ema.state`` -> model, ema, state."""
    return set(re.split(r"[^a-z0-9]+", name.lower()))


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
    _refuse_tangle(path, payload)
    entries = dict(_entries(payload, ""))
    raw = _by_nests(payload)
    averages = [name for name in entries if is_average(name)]
    pick = _pick(path, entries, raw, averages, wanted)
    tensors = {str(k): v for k, v in entries[pick].items() if isinstance(v, Tensor)}
    masks = {n: v for n, v in _masks(payload, "") if n != pick and not pick.startswith(f"{n}.")}
    named = list(tensors)
    tensors, bookkeeping = unwrapped_names(path, tensors)
    _refuse_unmet(path, wanted, pick, entries, [*named, *tensors])
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
    said: dict[str, str] = {}
    others = [n for n in (raw, *averages) if n is not None and n in entries and n != pick]
    if others or is_average(pick) or wanted:
        kind = " (moving averages)" if is_average(pick) else ""
        left = f"; not used: {_listed(dict.fromkeys(others))}" if others else ""
        said["weights"] = f"entry '{pick}'{kind}{left}" if pick else f"the file itself{left}"
        if others and wanted is None:
            said["weights"] += f" (name it {path.name}#{others[0]})"
    for name, mask in masks.items():
        tensors, count = _masked(path, name, mask, tensors)
        said["masks"] = "; ".join(
            [*([said["masks"]] if "masks" in said else []), f"'{name}' applied to {count} weights"]
        )
    if bookkeeping:
        said["ignored"] = f"{len(bookkeeping)} counters of tools ({_listed(bookkeeping)})"
    roots = {pick.partition(".")[0], *(name.partition(".")[0] for name in masks)}
    if isinstance(payload, Mapping) and pick:
        beside = [str(key) for key, value in payload.items() if _holds_tensors(value)]
        unused = [name for name in beside if name not in roots and name not in others]
        if unused:
            said["unused"] = _listed(unused)
    return Chosen(tensors, said)


def _refuse_tangle(path: Path, payload: Any) -> None:
    """Refuse containers that hold each other so often that no walk through them ends."""
    waiting, met = [(payload, 0)] if isinstance(payload, Mapping | list | tuple) else [], 0
    while waiting:
        holder, depth = waiting.pop()
        met += 1
        if met > _MOST_CONTAINERS:
            raise SparsebenchError(
                f"'{path}' holds more than {_MOST_CONTAINERS:,} containers, or some that hold "
                "each other.",
                "Save a state dict alone, with torch.save(model.state_dict(), FILE).",
            )
        if depth <= _DEEPEST:
            inner = holder.values() if isinstance(holder, Mapping) else holder
            waiting += [(v, depth + 1) for v in inner if isinstance(v, Mapping | list | tuple)]


def _entries(payload: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every mapping with tensors of its own, by its dotted name; "" is the file itself."""
    if not isinstance(payload, Mapping) or depth > _DEEPEST:
        return
    if any(isinstance(value, Tensor) for value in payload.values()):
        yield name, payload
    for key, value in payload.items():
        if isinstance(key, str) and not words_of(key) & _TRAINING:
            yield from _entries(value, f"{name}.{key}" if name else key, depth + 1)


def _by_nests(payload: Any) -> str | None:
    """The usual names of what holds the weights, followed inwards; None where nothing does."""
    name: list[str] = []
    for _ in range(_DEEPEST):
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
            f"'{path}' holds no averaged weights.", f"It holds {_listed(entries) or 'none'}."
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
            f"'{path}' holds several networks: {_listed(own)}.",
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
    listed = dict.fromkeys([*entries, *(name.partition(".")[0] for name in names)])
    raise SparsebenchError(
        f"'{path}' holds nothing called '{wanted}'.",
        f"It holds {_listed(name for name in listed if name)}.",
    )


def _layers(entry: Mapping[Any, Any]) -> int:
    """Weights of layers in an entry, masks of bools left out."""
    return sum(
        isinstance(value, Tensor) and value.dim() in (2, 4) and value.dtype != torch.bool
        for value in entry.values()
    )


def _masks(payload: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Entries that are masks by their name, or by holding nothing but bools."""
    if not isinstance(payload, Mapping) or depth > _DEEPEST:
        return
    for key, value in payload.items():
        if not isinstance(key, str):
            continue
        full = f"{name}.{key}" if name else key
        by_name = bool(words_of(key) & {"mask", "masks"}) or key.lower().endswith(("mask", "masks"))
        if isinstance(value, Tensor):
            if key.lower() in ("mask", "masks"):  # others are masks under a weight's name
                yield full, value
        elif by_name and _holds_tensors(value):
            yield full, value
        elif isinstance(value, Mapping) and value and not words_of(key) & _TRAINING:
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


def _holds_tensors(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Tensor):
        return True
    if depth > _DEEPEST or not isinstance(value, Mapping | list | tuple):
        return False
    inner = list(value.values()) if isinstance(value, Mapping) else list(value)
    return any(_holds_tensors(one, depth + 1) for one in inner[:64])


def _listed(names: Any) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
