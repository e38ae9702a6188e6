"""A network inside another one's names: ``model.``, ``backbone.`` with ``head.``, ``encoder_q.``

A prefix is dropped where everything behind it is the architecture, tensor by tensor; what stands
outside is named as unused, or refused where it may belong between the features and the head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from sparsebench.models.architectures import ARCHITECTURES, class_weight, classifier_name
from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints.entries import AVERAGED, RAW, is_average
from sparsebench.models.checkpoints.layouts import with_one_head
from sparsebench.models.errors import SparsebenchError

OTHERS = "Any other network runs as its ONNX file: torch.onnx.export, then name the .onnx."
# Where a network's momentum copy stands beside it (MoCo), the network is meant.
_COPIES = {"encoder_k": "encoder_q", "momentum_encoder": "encoder", "teacher": "student"}
_BESIDE = re.compile(
    r"(.*[._])?(criterion|loss\w*|metrics?|\w*acc(uracy)?|queue\w*|memory\w*|center|"
    r"mean|std|normalize|preprocess\w*|data_preprocessor)([._].*)?"
)
_NAMINGS = (
    (r"(resnet\.)?(embedder|encoder\.stages)\.", "a transformers (Hugging Face) ResNet"),
    (r"(vit|deit|swin|convnext|beit|dinov2)\.", "a transformers (Hugging Face) network"),
    (r"cls_token|pos_embed|blocks\.\d+\.attn\.|conv_proj\.|class_token", "a vision transformer"),
    (r"layers\.\d+\.blocks\.\d+\.attn", "a Swin transformer"),
    (r"stages\.\d+\.blocks\.\d+\.conv_dw|stages\.\d+\.blocks\.\d+\.mlp", "a ConvNeXt"),
    (r"lora_[AB]\b|.*\.lora_[AB]", "LoRA adapters"),
    (r"features\.denseblock\d", "a DenseNet"),
)


def naming_of(tensors: Mapping[str, Tensor]) -> str:
    """A sentence on whose names these are; empty where nobody knows."""
    for pattern, what in _NAMINGS:
        if any(re.match(rf"(\w+\.)?({pattern})", name) for name in tensors):
            return f" Its names are those of {what}."
    return ""


def expected_of(arch: str, classes: int) -> Mapping[str, Tensor]:
    """Names, shapes and types of an architecture's tensors, without values."""
    return _expected(ARCHITECTURES.target(arch), arch, classes)


@lru_cache(maxsize=32)
def _expected(target: str, arch: str, classes: int) -> Mapping[str, Tensor]:
    return build_shapes(arch, classes).state_dict()


def settled(
    arch: str, tensors: Mapping[str, Tensor], path: Path, entry: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors under an architecture's names, and what was left out for that.

    Args:
        arch: name of an architecture.
        tensors: as a file names them.
        path: of the file, for messages.
        entry: the prefix that was asked for, or another word.

    Returns:
        The tensors as they are where nothing behind a prefix is the architecture.

    Raises:
        SparsebenchError: several prefixes hold it and none was chosen, or tensors beside it may
            change what it computes.
    """
    head = classifier_name(arch)
    tensors = with_one_head(tensors, head)
    body = {n: t for n, t in expected_of(arch, 1).items() if not n.startswith(f"{head}.")}
    body = {n: t for n, t in body.items() if not n.endswith("num_batches_tracked")}
    anchor = next(iter(body))
    prefixes = [n.removesuffix(anchor) for n in tensors if n == anchor or n.endswith(f".{anchor}")]

    def holds(prefix: str) -> bool:
        given = {n: tensors.get(f"{prefix}{n}") for n in body}
        return all(g is not None and g.shape == body[n].shape for n, g in given.items())

    found = [prefix for prefix in prefixes if holds(prefix)]
    if not found or (found == [""] and class_weight(arch) in tensors):
        return dict(tensors), {}
    prefix, copies = _one_of(found, entry, path)
    mine = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)} \
        if prefix else dict(tensors)  # fmt: skip
    rest = {n: t for n, t in tensors.items() if prefix and not n.startswith(prefix)}
    outside = [n for n in rest if not any(n.startswith(other) for other in copies if other)]
    said = {"prefix": f"'{prefix}' dropped"} if prefix else {}
    if class_weight(arch) == f"{head}.weight" and f"{head}.weight" not in mine:
        width = expected_of(arch, 1)[f"{head}.weight"].shape[1]
        _take_head(mine, rest, outside, head, width, said)
    strange = [
        n for n in outside if n in rest and tensors[n].dim() > 1 and not _BESIDE.fullmatch(n)
    ]
    if strange and class_weight(arch) in mine:
        raise SparsebenchError(
            f"'{path}' holds a {arch} behind '{prefix}' and more beside it "
            f"({', '.join(strange[:3])}), which may change what it computes.",
            f"Save the {arch} alone with its classifier. {OTHERS}",
        )
    left = [n for n in rest if n not in said.get("classifier", "")]
    if left:
        roots = dict.fromkeys(n.partition(".")[0] for n in left)
        said["unused"] = ", ".join(f"{root}.*" if root not in left else root for root in roots)
    return mine, said


def _one_of(found: list[str], entry: str | None, path: Path) -> tuple[str, list[str]]:
    """The prefix that is meant, and the others."""
    names = {p.rstrip("."): p for p in found}
    if entry in names:
        assert entry is not None
        chosen = [names[entry]]
    else:
        chosen = [p for n, p in names.items() if _COPIES.get(n.rpartition(".")[2]) not in
                  {other.rpartition(".")[2] for other in names}]  # fmt: skip
        averages = [p for p in chosen if is_average(p)]
        raw = [p for p in chosen if not is_average(p)]
        if averages and raw:
            chosen = raw if entry == RAW else averages
        elif entry == AVERAGED and averages:
            chosen = averages
    if len(chosen) != 1:
        raise SparsebenchError(
            f"'{path}' holds several networks: {', '.join(repr(n) for n in names)}.",
            f"Choose one: {path.name}#{next(iter(names))}.",
        )
    return chosen[0], [p for p in found if p != chosen[0]]


def _take_head(
    mine: dict[str, Tensor],
    rest: dict[str, Tensor],
    outside: list[str],
    head: str,
    width: int,
    said: dict[str, str],
) -> None:
    """Move the only matrix of the classifier's width, with its bias, under the right name."""
    pool = {n: rest[n] for n in outside} | {n: t for n, t in mine.items() if n not in rest}
    known = {n for n in pool if n.endswith(".weight") and pool[n].dim() == 2}
    matrices = [n for n in known if pool[n].shape[1] == width]
    if len(matrices) != 1 or len(known) != 1:
        return
    (weight,) = matrices
    bias = weight.removesuffix("weight") + "bias"
    mine[f"{head}.weight"] = pool[weight]
    said["classifier"] = f"'{weight}'"
    if bias in pool:
        mine[f"{head}.bias"] = pool[bias]
    for name in (weight, bias):
        rest.pop(name, None)
        if name in mine and name not in (f"{head}.weight", f"{head}.bias"):
            del mine[name]
