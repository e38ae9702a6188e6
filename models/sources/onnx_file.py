"""An ONNX file alone as a backbone: ``my.onnx``, of any architecture, run as it is.

It has no architecture's name, so files are compared with each other by the path of the dense one.
A card file beside it (``my.json``) tells what a graph cannot: preprocessing, method, licence.
Without one the preprocessing is ImageNet's usual one at the file's own size (or plain 0..1 or
0..255, where the graph scales its input itself), and a file with few zeros counts as dense.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sparsebench.models.card_file import card_of
from sparsebench.models.cards import IMAGENET_PREPROCESSING, Card, at_size
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.found import Found
from sparsebench.models.sources.labels import DENSE_AT_MOST, LABEL_OFF, WORTH_SAYING

if TYPE_CHECKING:
    from sparsebench.models.onnx_file.backbone import OnnxBackbone
    from sparsebench.models.onnx_file.input import Three

ARCH = "onnx"
UNKNOWN = "unknown"
# Small weights of a dense network become zeros where they are rounded to whole numbers.
_DENSE_ROUNDED_AT_MOST = 0.35


def find_onnx(name: str) -> Found:
    """The backbone behind the path of an ONNX file; its ``load`` refuses, as it has no module.

    A file that is there and cannot be used has a card that says why (``refused``), so that a
    run of several files goes on with the others; :func:`load_onnx` raises it.

    Raises:
        SparsebenchError: there is no such file.
    """
    path = _path(name)
    if not path.is_file():
        raise SparsebenchError(f"There is no ONNX file '{path}'.", "Check the path.")
    try:
        card = _card(name.strip(), path)
    except SparsebenchError as error:
        card = _refused(name.strip(), path, error)
    return Found(card, partial(refuse_training, name), path)


def load_onnx(name: str) -> OnnxBackbone:
    """The file itself, to be run as it stands; raises like :func:`find_onnx`."""
    from sparsebench.models.onnx_file.backbone import load_onnx_backbone
    from sparsebench.models.onnx_file.graph import open_onnx

    path = _path(name)
    return load_onnx_backbone(_card(name.strip(), path), open_onnx(path))


def _refused(name: str, path: Path, error: SparsebenchError) -> Card:
    return Card(
        name=name,
        arch=ARCH,
        method=UNKNOWN,
        family="unknown",
        sparsity=0.0,
        preprocessing=IMAGENET_PREPROCESSING,
        source=str(path),
        sha256=None,
        licence=UNKNOWN,
        upstream_accuracy=None,
        upstream_data=None,
        trained=True,
        dense_partner=name,
        notes="An ONNX file that cannot be used.",
        refused=str(error),
    )


def _path(name: str) -> Path:
    return Path(name.strip()).expanduser()


def _card(name: str, path: Path) -> Card:
    if not path.is_file():
        raise SparsebenchError(f"There is no ONNX file '{path}'.", "Check the path.")
    stamp = path.stat()
    seen = _seen(path, stamp.st_mtime_ns, stamp.st_size)
    if isinstance(seen, SparsebenchError):
        raise SparsebenchError(seen.cause, seen.fix)
    zeros, side, own_scaling, most, precision = seen
    described = card_of(path)
    if described is not None:
        size = described.preprocessing.size
        if side not in (None, size):
            raise SparsebenchError(
                f"The card of '{path}' is wrong: it says {size} px, the file takes {side} px.",
                "Set size and resize under its 'preprocessing'.",
            )
        dense = described.method == "dense"
        _check_card(described, zeros, most, path)
        return replace(
            described,
            name=name,
            source=str(path),
            dense_partner=name if dense else described.dense_partner,
            precision=precision,
        )
    dense = zeros <= most
    preprocessing = at_size(IMAGENET_PREPROCESSING, side or IMAGENET_PREPROCESSING.size)
    assumed = f"ImageNet's usual one at {preprocessing.size} px is assumed."
    if own_scaling is not None:
        mean, std = own_scaling
        preprocessing = replace(preprocessing, mean=mean, std=std)
        values = "0..1" if std[0] == 1 else "0..255"
        assumed = (
            f"and its graph scales its input itself: it gets values of {values} at "
            f"{preprocessing.size} px."
        )
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
        + (f"so {assumed}" if own_scaling is None else assumed)
        + (f" {zeros:.1%} of its weights are zero." if dense and zeros >= WORTH_SAYING else ""),
        precision=precision,
    )


def precision_of(path: Path) -> str:
    """What an ONNX file computes in: ``int8`` for a quantized one, else ``fp32``.

    Raises:
        SparsebenchError: it cannot be read.
    """
    stamp = path.stat()
    seen = _seen(path, stamp.st_mtime_ns, stamp.st_size)
    if isinstance(seen, SparsebenchError):
        raise SparsebenchError(seen.cause, seen.fix)
    return seen[-1]


def _check_card(card: Card, zeros: float, most: float, path: Path) -> None:
    """Refuse a card whose sparsity the file contradicts.

    Raises:
        SparsebenchError: they are more than five points apart, or a dense file is sparse.
    """
    dense = card.method == "dense"
    if zeros > most if dense else abs(zeros - card.sparsity) > LABEL_OFF:
        said = "dense" if dense else f"{card.sparsity:.1%} sparse"
        raise SparsebenchError(
            f"The card of '{path}' is wrong: it says {said}, {zeros:.1%} of the weights are zero.",
            "Name the sparsity of the file itself, over all weights.",
        )


@lru_cache(maxsize=64)
def _seen(
    path: Path, modified: int, size: int
) -> tuple[float, int | None, tuple[Three, Three] | None, float, str] | SparsebenchError:
    """Zeros, fixed side, own scaling, most zeros of a dense file, precision; or why none."""
    from sparsebench.models.onnx_file.graph import open_onnx
    from sparsebench.models.onnx_file.walks import ancestors
    from sparsebench.models.onnx_file.weights import quantized, read_weights

    try:
        file = open_onnx(path)
        graph = file.model.graph
        layers = read_weights(graph, ancestors(graph, file.tensors("logits")), str(path))
    except SparsebenchError as error:
        return error
    weights = sum(layer.weight.size for layer in layers)
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
    rounded = any(layer.quantized for layer in layers) or quantized(graph.node)
    most = _DENSE_ROUNDED_AT_MOST if rounded else DENSE_AT_MOST
    share = zeros / weights if weights else 0.0
    return share, file.side, file.own_scaling, most, "int8" if rounded else "fp32"


def refuse_training(name: str) -> NoReturn:
    """Say why nothing of an ONNX file can be trained or pruned here.

    Raises:
        SparsebenchError: always.
    """
    raise SparsebenchError(
        f"'{name}' is an ONNX file that is run as it is: there is no PyTorch network to train.",
        f"If its architecture is one of the suite's, name it ARCH/METHOD-PERCENT@{name}.",
    )
