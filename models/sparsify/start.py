"""The weights that a training starts from, and what their classifier knows already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.models.architectures import build, classifier_name, require_classifier
from sparsebench.models.architectures.without_compiler import timm_info
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.fit import check_statistics, check_values
from sparsebench.models.errors import SparsebenchError

IMAGENET_CLASSES = 1000


def first_weights(
    arch: str, classes: Sequence[str], seed: int, start: str | Path | None
) -> nn.Module:
    """A network for some classes.

    A start that tells other classes apart gives its classifier up, unless it was trained on
    ImageNet-1k and the classes are WordNet ids of those: then their rows are kept.

    Args:
        arch: an architecture's name.
        classes: names of the classes, in the order of the outputs.
        seed: of random weights.
        start: checkpoint file or backbone name; None for random weights alone.

    Raises:
        SparsebenchError: no such backbone, weights of another architecture, or none that a
            trained network can have.
    """
    require_classifier(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(arch, len(classes))
    if start is None:
        return module
    state = _state(start)
    own = module.state_dict()
    head = classifier_name(arch) + "."
    rows = imagenet_rows(classes)
    for name in [n for n in own if n.startswith(head)]:
        if name in state and state[name].shape != own[name].shape:
            known = rows is not None and len(state[name]) == IMAGENET_CLASSES
            kept = state[name][rows] if known else own[name]
            state[name] = kept if kept.shape == own[name].shape else own[name]
    counters = {n: t for n, t in own.items() if n.endswith("num_batches_tracked")}
    state = counters | state  # which old files lack
    differing = [n for n in own if n not in state or state[n].shape != own[n].shape]
    differing += [n for n in state if n not in own]
    if differing:
        raise SparsebenchError(
            f"{start} is not a {arch}: {len(differing)} tensors are missing, left over or of "
            f"another shape, {differing[0]} first.",
            "Start from weights of the same architecture.",
        )
    check_values(state, Path(start))
    if Path(start).is_file():  # a backbone with random weights is a fair start, if asked for
        check_statistics(state, Path(start))
    module.load_state_dict({n: state[n] for n in own})
    return module


def imagenet_rows(classes: Sequence[str]) -> list[int] | None:
    """Where WordNet ids stand among the 1,000 of ImageNet-1k; None if one is none of them.

    Source of the order: timm's ``imagenet_synsets.txt``.
    """
    names = timm_info("imagenet_synsets.txt").splitlines()
    places = {name: place for place, name in enumerate(names)}
    found = [places.get(name) for name in classes]
    return [row for row in found if row is not None] if None not in found else None


def _state(start: str | Path) -> dict[str, Tensor]:
    if Path(start).is_file():
        return dict(load_checkpoint(start).state_dict)
    from sparsebench.models.zoo.load import load_backbone

    return dict(load_backbone(str(start)).module.state_dict())
