"""Fitting a checkpoint to its architecture: every name and shape, or a clear refusal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.models.architectures import (
    ARCHITECTURES,
    class_weight,
    classes_of,
    find_architecture,
)
from sparsebench.models.architectures.libraries import libraries_with
from sparsebench.models.architectures.recognised import usual_networks
from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints import LoadedCheckpoint
from sparsebench.models.checkpoints.layouts import our_architecture
from sparsebench.models.checkpoints.prefixes import OTHERS, expected_of, naming_of, settled
from sparsebench.models.errors import SparsebenchError

_SHOWN = 3
_NEARLY = 0.9


def build_from(
    arch: str, checkpoint: LoadedCheckpoint, path: Path, *, trained: bool = True
) -> nn.Module:
    """The architecture with the checkpoint's weights and as many classes as it has.

    Batch norm's ``num_batches_tracked`` may be missing: old files lack it and evaluation
    does not read it.

    Args:
        arch: name of an architecture.
        checkpoint: what was read from the file.
        path: of the file, for messages.
        trained: whether the weights shall be trained ones; then batch-norm statistics
            that nothing has ever touched are refused.

    Returns:
        The whole classifier in eval mode, weights in float32 on the CPU.

    Raises:
        SparsebenchError: names are missing or left over, shapes differ, values are none that
            a network can have, batch norm was never trained, or the file says that it is of another
            architecture.
    """
    claimed = checkpoint.metadata.get("arch", arch)
    known = our_architecture(claimed.partition(".")[0]).replace("tf_", "")
    # A name that the suite does not know says nothing, nor does one of a library's, which has
    # several for one network, nor one that the tensors contradict: they decide.
    listed = {known, arch} <= set(ARCHITECTURES)
    if known != arch and listed and _fits(known, checkpoint.state_dict, checkpoint.entry):
        raise SparsebenchError(
            f"'{path}' says that it holds a {claimed}, not a {arch}.",
            f"Name the backbone {known}/..., an architecture of the suite.",
        )
    if known != arch.rpartition(":")[2] and known != arch:
        checkpoint.metadata["named"] = f"'{claimed}' by the file; its tensors are a {arch}'s"
    state_dict, said = settled(arch, checkpoint.state_dict, path, checkpoint.entry)
    checkpoint.metadata.update(said)
    try:
        classes = _num_classes(arch, state_dict, path)
        module = build_shapes(arch, classes)
        expected = module.state_dict()
        check_names_and_shapes(arch, expected, state_dict, path)
    except SparsebenchError as error:
        if "weights" not in checkpoint.metadata:
            raise
        # Another entry of the file may fit: averages often hold a part of the network only.
        read = f" What was read: {checkpoint.metadata['weights']}."
        raise SparsebenchError(error.cause + read, error.fix) from None
    check_values(state_dict, path)
    if trained:
        check_statistics(state_dict, path)
    # Copied, since tensors of a safetensors file lie in the mapped file at any alignment,
    # which changes the last bits of what is computed with them, and how fast.
    complete = {
        name: state_dict[name].to(template.dtype, copy=True)
        if name in state_dict
        else torch.zeros(template.shape, dtype=template.dtype)
        for name, template in expected.items()
    }
    module.load_state_dict(complete, assign=True)
    return module.eval().requires_grad_(True)


def check_names_and_shapes(
    arch: str, expected: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path
) -> None:
    """Compare a state dict with its architecture's.

    Raises:
        SparsebenchError: they differ; the first few differences are listed.
    """
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = [name for name in expected if name not in given and name not in optional]
    unexpected = [name for name in given if name not in expected]
    wrong = [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(template.shape)}"
        for name, template in expected.items()
        if name in given and given[name].shape != template.shape
    ]
    if not (missing or unexpected or wrong):
        return
    differences = [
        f"{len(items)} {what} ({_first(items)})"
        for what, items in (
            ("missing", missing),
            ("unknown", unexpected),
            ("of another shape", wrong),
        )
        if items
    ]
    folded = bool(missing) and all(re.search(r"(bn|norm|downsample\.1|\d)\b", n) for n in missing)
    biases = [n for n in unexpected if n.endswith(".bias")]
    why = naming_of(given)
    if folded and biases == unexpected and not wrong:
        why = " Its batch norms are folded into its convolutions, which an ONNX file may have."
    raise SparsebenchError(
        f"'{path}' does not fit {arch}: tensors " + "; ".join(differences) + f".{why}",
        "Check the architecture in the backbone's name, and that the whole classifier's "
        f"state dict was saved. {OTHERS}",
    )


_REAL = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
_COUNTS = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
"""Of buffers. Complex numbers have no order, and numbers of a byte and less no arithmetic."""


def check_values(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Refuse numbers that no network has.

    Raises:
        SparsebenchError: weights that are no real numbers, NaN or infinity, negative variances,
            nothing but zeros, or no weight at all; the first few are listed.
    """
    weights = {n: t for n, t in state_dict.items() if n.endswith("weight") and t.dim() in (2, 4)}
    odd = [n for n, t in weights.items() if t.dtype not in _REAL]
    odd = odd or [n for n, t in state_dict.items() if t.dtype not in _REAL | _COUNTS]
    if odd:
        kinds = "/".join(sorted({str(state_dict[n].dtype).removeprefix("torch.") for n in odd}))
        raise SparsebenchError(
            f"'{path}' holds {kinds} where real weights belong ({_first(odd)}).",
            "Save the network in float32, without quantization.",
        )
    empty = [n for n, t in weights.items() if t.numel() == 0]
    if empty or not weights:
        what = f"empty weights ({_first(empty)})" if empty else "no weight of a layer"
        raise SparsebenchError(f"'{path}' holds {what}.", "Save the whole classifier.")
    check_finite(state_dict, path)
    negative = [
        n for n, t in state_dict.items() if n.endswith("running_var") and bool((t < 0).any())
    ]
    if negative:
        raise SparsebenchError(
            f"'{path}' holds negative batch-norm variances ({_first(negative)}).",
            "The file is damaged, or not what its names say; take another checkpoint.",
        )
    if not any(bool(tensor.any()) for tensor in weights.values()):
        raise SparsebenchError(
            f"'{path}' holds weights that are all zero.", "Take a checkpoint of a trained network."
        )


def check_finite(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Refuse NaN and infinity.

    Raises:
        SparsebenchError: a tensor holds one; the first few are listed.
    """
    broken = [n for n, t in state_dict.items() if not bool(torch.isfinite(t).all())]
    if broken:
        raise SparsebenchError(
            f"'{path}' holds NaN or infinite values in {len(broken)} of {len(state_dict)} tensors "
            f"({_first(broken)}).",
            "Its training diverged, or the file is damaged; take another checkpoint.",
        )


def check_statistics(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Refuse batch-norm statistics that are all still their initial values.

    A file like that was saved before training, or lost its buffers on the way (a list of
    parameters instead of a state dict): its network computes nothing of worth.

    Raises:
        SparsebenchError: every running mean is 0 and every running variance 1.
    """
    means = [t for n, t in state_dict.items() if n.endswith(".running_mean")]
    variances = [t for n, t in state_dict.items() if n.endswith(".running_var")]
    if not means or any(bool((mean != 0).any()) for mean in means):
        return
    if any(bool((variance != 1).any()) for variance in variances):
        return
    raise SparsebenchError(
        f"'{path}' holds no trained network: all its batch-norm statistics are initial values "
        "(mean 0, variance 1).",
        "Save the whole state dict, buffers included, after training; for untrained weights "
        "use NAME@generated.",
    )


def matching_architectures(
    state_dict: Mapping[str, Tensor], entry: str | None = None, claimed: str | None = None
) -> list[str]:
    """The architectures whose tensors have these names and shapes, any class count.

    The suite's own come first; where none fits, the usual ones of timm and torchvision are tried.

    Args:
        state_dict: as a file names its tensors.
        entry: the prefix that was asked for, or another word.
        claimed: what the file says that it is; a name of a library's is tried too.
    """
    others = libraries_with((claimed or "").rpartition(":")[2]) if claimed else []
    fitting = [arch for arch in (*ARCHITECTURES, *others) if _fits(arch, state_dict, entry)]
    usual = [] if fitting else usual_networks(state_dict)
    return fitting or [arch for arch in usual if _fits(arch, state_dict, entry)]


def _fits(arch: str, tensors: Mapping[str, Tensor], entry: str | None) -> bool:
    try:
        fitted, _ = settled(arch, tensors, Path(), entry)
        classes = _num_classes(arch, fitted, Path())
        check_names_and_shapes(arch, expected_of(arch, classes), fitted, Path())
    except SparsebenchError:
        return False
    return True


def nearest_architecture(state_dict: Mapping[str, Tensor]) -> str | None:
    """The architecture that a file just misses: nine tenths of its tensors or more agree."""
    candidates: list[str] = [*ARCHITECTURES, *usual_networks(state_dict)]
    for arch in candidates:
        weight = state_dict.get(class_weight(arch))
        classes = (
            classes_of(arch, int(weight.shape[0])) if weight is not None and weight.dim() else 1
        )
        expected = expected_of(arch, max(classes, 1))
        agree = sum(n in state_dict and state_dict[n].shape == t.shape for n, t in expected.items())
        if agree >= _NEARLY * max(len(expected), len(state_dict)):
            return arch
    return None


def differing(arch: str, state_dict: Mapping[str, Tensor]) -> str:
    """What tells tensors from those of an architecture: "lacks fc.bias; holds fc.1.bias"."""
    expected = expected_of(arch, 1)
    lacking = [name for name in expected if name not in state_dict]
    more = [name for name in state_dict if name not in expected]
    parts = {"lacks": lacking, "holds": more}
    said = "; ".join(f"{word} {_first(names)}" for word, names in parts.items() if names)
    return said or "has other shapes"


def _num_classes(arch: str, state_dict: Mapping[str, Tensor], path: Path) -> int:
    name = class_weight(arch)
    weight = state_dict.get(name)
    dims = 2 if find_architecture(arch).grids is None else 4
    classes = 0 if weight is None or not weight.dim() else classes_of(arch, int(weight.shape[0]))
    if weight is None and (layers := _layers_of_head(state_dict, name)):
        raise SparsebenchError(
            f"'{path}' holds a head of {len(layers)} layers ({_first(layers)}) where a {arch} has "
            f"one matrix, '{name}'.",
            f"A head of several layers belongs to another network. {OTHERS}",
        )
    if weight is None or weight.dim() != dims or classes < 1:
        raise SparsebenchError(
            f"'{path}' holds no classifier of a {arch} ('{name}'); "
            f"it holds {_first(list(state_dict))}.{naming_of(state_dict)}",
            "Check the architecture in the backbone's name, and save the whole classifier. "
            f"{OTHERS}",
        )
    return classes


def _layers_of_head(state_dict: Mapping[str, Tensor], name: str) -> list[str]:
    """Weights inside the place of the classifier, where there are several: ``fc.0``, ``fc.3``."""
    place = name.removesuffix("weight")
    inside = [n for n in state_dict if n.startswith(place) and n.endswith("weight")]
    return [n for n in inside if state_dict[n].dim() > 1] if len(inside) > 1 else []


def _first(items: Iterable[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
