"""Reading pickles without running them.

torch's restricted unpickler (``weights_only=True``) refuses every global that it does not
know. Training scripts often leave harmless ones beside the weights: the class of an
optimizer or scheduler, the parsed arguments, numpy scalars. Those, and nothing else, are
read as inert placeholders; whatever other code a file names, it is refused.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from sparsebench.models.errors import SparsebenchError

_BESIDE_WEIGHTS = re.compile(
    r"(torch\.optim|optimization|optimizers?|lr_schedulers?|schedulers?)(\.[A-Za-z_]\w*)+"
    r"|argparse\.Namespace"
    r"|numpy\.(_?core\.multiarray\.scalar|dtype)|_codecs\.encode"
)
# YOLOv5's files are pickled models. Where one of these classes is named, the modules' own are read
# as what holds tensors under names, and nothing of them is run.
_PICKLED_MODEL = re.compile(r"((yolov5\.)?models\.yolo|ultralytics\.nn\.tasks)\.\w*Model")
_OF_MODELS = re.compile(
    r"(models|utils|yolov5|ultralytics|torch\.nn\.modules|pathlib|datetime)(\.[A-Za-z_]\w*)+"
    r"|(builtins|__builtin__)\.(set|slice)"
)
# A legacy file starts with four pickles: magic, protocol, system, and the object.
_LEGACY_PICKLES = 4
# A step of a pickle takes a microsecond and makes a hundred bytes at most; what holds tensors
# takes some twenty steps for each. Beyond these a file is refused, whatever its size.
MOST_STEPS = 500_000
_LARGEST_PICKLE = 32 * 2**20
_FROM_NUMPY = "Save tensors (torch.from_numpy), as model.state_dict() has them."
# Makes as many bytes as it is told, which no checkpoint needs.
_REFUSED_GLOBALS = {"builtins.bytearray", "__builtin__.bytearray"}


class Placeholder:
    """Stands for an object that is not needed: takes anything, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Placeholder:
        """An instance, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class KeptState(Placeholder):
    """Stands for a module of a pickled model: keeps what it held, does nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def load_plain(path: Path) -> Any:
    """What ``torch.load`` returns, with placeholders for what stands beside the weights.

    A model that was pickled whole becomes a mapping of its tensors by their names.

    Raises:
        SparsebenchError: the file names other code, or tensors are not what they claim.
        Exception: the file is damaged; torch raises almost anything then.
    """
    named = _globals(path)
    inert: list[Any] = [(Placeholder, name) for name in named if _BESIDE_WEIGHTS.fullmatch(name)]
    if any(_PICKLED_MODEL.fullmatch(name) for name in named):
        inert += [(KeptState, name) for name in named if _OF_MODELS.fullmatch(name)]
    try:
        with torch.serialization.safe_globals(inert), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats; what counts is said below
            payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (culprit := _culprit(str(error))) and culprit.startswith("numpy."):
            raise SparsebenchError(
                f"'{path}' holds arrays of NumPy (it names {culprit}), not tensors.", _FROM_NUMPY
            ) from None
        if culprit:
            raise SparsebenchError(
                f"'{path}' holds more than tensors and plain containers (it names {culprit}); "
                "reading it would execute code from the file, which is never done.",
                "Save only its state dict, with torch.save(model.state_dict(), FILE), "
                "where it comes from.",
            ) from None
        raise SparsebenchError(
            f"'{path}' is not a file that torch.save wrote, or it was altered since.",
            "Get it again, or save a state dict with torch.save(model.state_dict(), FILE).",
        ) from None
    payload = _with_tensors(payload)
    _refuse_odd_tensors(path, payload)
    return payload


def _with_tensors(payload: Any) -> Any:
    """A payload whose pickled models, at its first two levels, are mappings of tensors."""
    if isinstance(payload, KeptState):
        return _tensors_of(payload)
    if type(payload) is dict:
        return {
            key: _tensors_of(value) if isinstance(value, KeptState) else value
            for key, value in payload.items()
        }
    return payload


def _tensors_of(module: KeptState) -> dict[str, Tensor]:
    """Parameters and buffers of a pickled module under their dotted names.

    A module that stands in two places is named at the first one: else a small file could ask for
    endless names.
    """
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", module)]
    seen: set[int] = set()
    while waiting:
        prefix, one = waiting.pop()
        state = one.state if isinstance(one, KeptState) else None
        if not isinstance(state, Mapping) or id(one) in seen:
            continue
        seen.add(id(one))
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _items(state, kind):
                if isinstance(tensor, Tensor):
                    found[f"{prefix}{name}"] = tensor.detach()
        waiting += [(f"{prefix}{n}.", part) for n, part in reversed(_items(state, "_modules"))]
    return found


def _items(state: Mapping[Any, Any], kind: str) -> list[tuple[str, Any]]:
    held = state.get(kind)
    return [(str(n), value) for n, value in held.items()] if isinstance(held, Mapping) else []


def _globals(path: Path) -> set[str]:
    """Dotted names of all that a file's pickle would import; found without running it.

    Raises:
        SparsebenchError: the pickle is longer than any that holds a network.
    """
    found: set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if not entry.filename.endswith("data.pkl"):
                        continue
                    if entry.file_size > _LARGEST_PICKLE:
                        raise SparsebenchError(
                            f"'{path}' holds {entry.file_size >> 20} MiB in its pickle, as arrays "
                            "of NumPy and lists do; tensors stand beside it.",
                            _FROM_NUMPY,
                        )
                    with archive.open(entry) as file:
                        found.update(_named(file))
        else:
            with path.open("rb") as file:
                for _ in range(_LEGACY_PICKLES):
                    found.update(_named(file))
    except _TooLongError:
        raise SparsebenchError(
            f"'{path}' holds a pickle of more than {MOST_STEPS:,} steps; a network's has some "
            "thousands.",
            "Save its state dict alone, with torch.save(model.state_dict(), FILE).",
        ) from None
    except SparsebenchError:
        raise
    # What cannot be scanned is left to torch, which will say what is wrong.
    except Exception:
        return found
    if named := found & _REFUSED_GLOBALS:
        raise SparsebenchError(
            f"'{path}' holds more than tensors and plain containers (it names {min(named)}).",
            "Save only its state dict, with torch.save(model.state_dict(), FILE).",
        )
    return found


class _TooLongError(Exception):
    """A pickle of too many steps."""


def _named(file: IO[bytes]) -> Iterator[str]:
    strings: list[str] = []
    for step, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if step >= MOST_STEPS:
            raise _TooLongError
        if operation.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        if isinstance(argument, str) and "UNICODE" in operation.name:
            strings = [*strings[-1:], argument]


def _culprit(text: str) -> str | None:
    match = re.search(r"GLOBAL ([\w.]+)", text)
    return match[1] if match else None


def _refuse_odd_tensors(path: Path, payload: Any) -> None:
    """Refuse tensors that claim more than the file holds, or are no plain arrays."""
    for name, tensor in _tensors(payload, "", set()):
        plain = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
        if not plain:
            raise SparsebenchError(
                f"The tensor '{name}' in '{path}' is quantized, sparse or without values.",
                "Save the network in float32 and dense tensors.",
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise SparsebenchError(
                f"The tensor '{name}' in '{path}' claims {tensor.numel():.3g} values, the file "
                "holds fewer.",
                "Do not trust this file; get it from where it was published.",
            )


def _tensors(payload: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(payload, Tensor):
        yield name, payload
    elif isinstance(payload, Mapping | list | tuple) and id(payload) not in seen:
        seen.add(id(payload))
        items = payload.items() if isinstance(payload, Mapping) else enumerate(payload)
        for key, value in items:
            yield from _tensors(value, f"{name}.{key}" if name else str(key), seen)
