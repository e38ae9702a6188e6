"""Sources: where a backbone's weights come from, the part of a name after ``@``.

A source is one :class:`Source` in a file of its own and one line in :data:`SOURCES`; code
outside this repository adds its own through the entry-point group
``sparsebench.sources``. A name without a source means ``zoo``; a source that looks like a
path means that file. Finding a card imports no torch, loading its weights does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparsebench.models.cards import Card
from sparsebench.models.errors import UnknownNameError
from sparsebench.models.found import Found
from sparsebench.models.names import BackboneName
from sparsebench.models.registry import Registry, load_target

SOURCES = Registry(
    "source",
    "sparsebench.sources",
    {
        "zoo": "sparsebench.models.sources.shipped:SHIPPED",
        "torchvision": "sparsebench.models.sources.torchvision_hub:TORCHVISION",
        "timm": "sparsebench.models.sources.timm_hub:TIMM",
        "paper": "sparsebench.models.sources.paper:PAPER",
        "generated": "sparsebench.models.sources.generated:GENERATED",
    },
)
DEFAULT = "zoo"
_FILE = "sparsebench.models.sources.own_file:OWN_FILE"
FILE_SUFFIXES = {
    ".pth", ".pt", ".safetensors", ".bin", ".ckpt", ".tar", ".net", ".onnx",
    ".weights",
    # Not read; taken for files all the same, so that the right thing is said of them.
    ".pt2", ".npz", ".npy", ".h5", ".hdf5", ".keras", ".pb", ".tflite", ".pkl", ".msgpack",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One place that weights come from.

    Args:
        name: key in the registry.
        find: the backbone of a name, None where this source has none of it. The name's
            architecture is known to exist.
        list_cards: what the source has, or examples where it has any number.
    """

    name: str
    find: Callable[[BackboneName], Found | None]
    list_cards: Callable[[], list[Card]]


def find_source(source: str | None) -> Source:
    """The source behind the part of a name after ``@``.

    Raises:
        UnknownNameError: it is neither a known word nor looks like a path.
    """
    word = source or DEFAULT
    if word in SOURCES:
        found = SOURCES.load(word)
    elif is_path(word):
        found = load_target(_FILE)
    else:
        raise UnknownNameError("source", word, SOURCES.names())
    assert isinstance(found, Source)
    return found


def is_path(source: str) -> bool:
    """Whether a source is meant as a file: it has a folder or a checkpoint's suffix."""
    named = source.rpartition("#")[0] or source  # FILE#ENTRY
    return "/" in source or "\\" in source or Path(named).suffix.lower() in FILE_SUFFIXES
