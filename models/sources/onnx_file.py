"""An ONNX file alone as a backbone: ``my.onnx``, of any architecture, run as it is.

It has no architecture's name, so files are held against each other by the path of the dense one.
A card file beside it (``my.json``) tells what a graph cannot: preprocessing, method, licence.
Without one the preprocessing is ImageNet's usual one at the file's own size, and a file with few
zeros counts as dense.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sparsebench.models.cards import IMAGENET_PREPROCESSING, Card, at_size
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sources import Found
from sparsebench.models.zoo.card_file import read_card

if TYPE_CHECKING:
    from sparsebench.models.onnx_file.backbone import OnnxBackbone

ARCH = "onnx"
UNKNOWN = "unknown"
# A stray zero, or small weights that quantization rounds, make no network sparse.
_DENSE_AT_MOST = 0.10


def find_onnx(name: str) -> Found:
    """The backbone behind the path of an ONNX file; its ``load`` refuses, as it has no module.

    Raises:
        SparsebenchError: there is no such file, it is damaged, it takes something else than
            pictures, or its card is wrong.
    """
    path = _path(name)
    return Found(_card(name.strip(), path), partial(refuse_training, name), path)


def load_onnx(name: str) -> OnnxBackbone:
    """The file itself, to be run as it stands; raises like :func:`find_onnx`."""
    from sparsebench.models.onnx_file.backbone import load_onnx_backbone
    from sparsebench.models.onnx_file.graph import open_onnx

    path = _path(name)
    return load_onnx_backbone(_card(name.strip(), path), open_onnx(path))


def _path(name: str) -> Path:
    return Path(name.strip()).expanduser()


def _card(name: str, path: Path) -> Card:
    if not path.is_file():
        raise SparsebenchError(f"There is no ONNX file '{path}'.", "Check the path.")
    zeros, side, precision = _facts(path)
    described = card_of(path)
    if described is not None:
        size = described.preprocessing.size
        if side not in (None, size):
            raise SparsebenchError(
                f"The card of '{path}' is wrong: it says {size} px, the file takes {side} px.",
                "Set size and resize under its 'preprocessing'.",
            )
        dense = described.method == "dense"
        return replace(
            described,
            name=name,
            source=str(path),
            dense_partner=name if dense else described.dense_partner,
            precision=precision,
        )
    dense = zeros <= _DENSE_AT_MOST
    preprocessing = at_size(IMAGENET_PREPROCESSING, side or IMAGENET_PREPROCESSING.size)
    return Card(
        name=name,
        arch=ARCH,
        method="dense" if dense else UNKNOWN,
        family="dense" if dense else "unknown",
        sparsity=0.0 if dense else round(zeros, 4),
        preprocessing=preprocessing,
        source=str(path),
        sha256=None,
        licence=UNKNOWN,
        upstream_accuracy=None,
        upstream_data=None,
        trained=True,
        dense_partner=name if dense else "",
        notes=f"An ONNX file, run as it is; no {path.stem}.json beside it tells its preprocessing, "
        f"so ImageNet's usual one at {preprocessing.size} px is assumed.",
        precision=precision,
    )


def precision_of(path: Path) -> str:
    """``int8`` for an ONNX file that computes in whole numbers somewhere, else ``fp32``.

    Raises:
        SparsebenchError: it cannot be read.
    """
    return _facts(path)[2]


def card_of(path: Path) -> Card | None:
    """What the card file beside an ONNX file says, None if there is none.

    Raises:
        SparsebenchError: the card file is wrong.
    """
    beside = path.with_suffix(".json")
    return read_card(beside, str(path), any_arch=True)[0] if beside.is_file() else None


def _facts(path: Path) -> tuple[float, int | None, str]:
    stamp = path.stat()
    return _seen(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=64)
def _seen(path: Path, modified: int, size: int) -> tuple[float, int | None, str]:
    """Share of zeros, fixed side and precision of a file, read once while it stays the same."""
    from sparsebench.models.onnx_file.graph import ancestors, open_onnx
    from sparsebench.models.onnx_file.weights import quantized, read_weights

    file = open_onnx(path)
    graph = file.model.graph
    nodes = ancestors(graph, file.logits or file.features)
    layers = read_weights(graph, nodes, str(path))
    weights = sum(layer.weight.size for layer in layers)
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
    precision = "int8" if quantized(nodes) else "fp32"
    return (zeros / weights if weights else 0.0), file.side, precision


def refuse_training(name: str) -> NoReturn:
    """Say why nothing of an ONNX file can be trained or pruned here.

    Raises:
        SparsebenchError: always.
    """
    raise SparsebenchError(
        f"'{name}' is an ONNX file that is run as it is: there is no PyTorch network to train.",
        f"If its architecture is one of the suite's, name it ARCH/METHOD-PERCENT@{name}.",
    )
