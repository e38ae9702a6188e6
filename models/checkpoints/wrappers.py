"""Parts of tensors' names that wrappers put there, and counters that tools leave in files.

torch.compile, DataParallel, FSDP, activation checkpointing, nni's pruners and
torch.nn.utils.parametrize rename what they wrap; thop and averaging leave counters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sparsebench.models.errors import SparsebenchError

_INFIXES = re.compile(
    r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_nni_wrapper|_dp_wrapped_module)\."
)
_PREFIXES = ("module.",)
_COUNTERS = re.compile(r"(^|.*\.)(total_ops|total_params|n_averaged|_extra_state)")
_ORIGINAL = re.compile(r"(?P<layer>.*)\.parametrizations\.(?P<what>\w+)\.original")
_MASK = re.compile(r"(?P<layer>.*)\.parametrizations\.(?P<what>\w+)\.\d+\.mask")
_PARAMETRIZED = ".parametrizations."
_SHARDS = re.compile(r"(^|.*\.)_?flat_param(_\d+)?")


def plain_name(name: str) -> str:
    """A tensor's name without what wrappers put into it."""
    return _INFIXES.sub("", name)


def unwrapped_names(
    path: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under the names of the network that was wrapped, and the counters left out.

    ``torch.nn.utils.parametrize``'s originals and masks become ``X_orig`` and ``X_mask``, which
    :func:`sparsebench.models.checkpoints.state_dict.apply_stored_masks` knows.

    Raises:
        SparsebenchError: parametrizations other than masks, shards of FSDP, or two tensors of
            one name.
    """
    counters = [name for name, tensor in tensors.items() if _counts(name, tensor)]
    plain: dict[str, Tensor] = {}
    masked = {
        name.removesuffix(".weight_mask") for name in tensors if name.endswith(".weight_mask")
    }
    for name, tensor in tensors.items():
        if name in counters:
            continue
        if _SHARDS.fullmatch(name):
            raise SparsebenchError(
                f"'{path}' holds a shard of FSDP ('{name}'), not the network's own tensors.",
                "Save the full state dict (StateDictType.FULL_STATE_DICT).",
            )
        short = plain_name(name)
        layer, _, last = short.rpartition(".")
        if layer.endswith(".module") and layer.removesuffix(".module") in masked:
            short = f"{layer.removesuffix('.module')}.{last}"  # nni's wrapper of a layer
        short = _parametrized(path, name, short, tensors)
        if short in plain:
            raise SparsebenchError(
                f"'{path}' holds '{short}' twice, under names of wrappers ('{name}').",
                "Save the state dict of the network that was wrapped.",
            )
        plain[short] = tensor
    return strip_prefixes(_weights_of_norms(path, plain)), counters


def _weights_of_norms(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that ``torch.nn.utils.weight_norm`` keeps as lengths and directions, computed.

    Raises:
        SparsebenchError: ``torch.nn.utils.spectral_norm``, whose matrix's shape is not stored.
    """
    plain = dict(tensors)
    for name, direction in tensors.items():
        stem = name.removesuffix("_v")
        length = tensors.get(f"{stem}_g")
        if f"{stem}_orig" in tensors and f"{stem}_u" in tensors:
            raise SparsebenchError(
                f"'{path}' holds '{stem}' as torch.nn.utils.spectral_norm keeps it ('{stem}_orig', "
                f"'{stem}_u'), before it is divided by its norm.",
                "Call torch.nn.utils.remove_spectral_norm before saving.",
            )
        if stem == name or length is None or stem in tensors:
            continue
        sides = [d for d in range(direction.dim()) if length.dim() == 0 or length.shape[d] == 1]
        if length.dim() not in (0, direction.dim()) or not sides:
            continue  # which no layer of that kind is; it is refused as unknown
        norm = torch.linalg.vector_norm(direction.float(), dim=sides, keepdim=True)
        plain[stem] = (direction.float() * (length.float() / norm)).to(direction.dtype)
        del plain[name], plain[f"{stem}_g"]
    return plain


def _counts(name: str, tensor: Tensor) -> bool:
    """Whether this is a tool's counter: by its name, or a whole number outside of all layers."""
    whole = tensor.dim() == 0 and tensor.dtype in (torch.int32, torch.int64)
    return bool(_COUNTERS.fullmatch(name)) or (whole and "." not in name)


def _parametrized(path: Path, name: str, short: str, tensors: Mapping[str, Tensor]) -> str:
    if _PARAMETRIZED not in short:
        return short
    for pattern, ending in ((_ORIGINAL, "_orig"), (_MASK, "_mask")):
        match = pattern.fullmatch(short)
        if match is None:
            continue
        head = name[: name.index(_PARAMETRIZED)] + f"{_PARAMETRIZED}{match['what']}."
        beside = [n for n in tensors if n.startswith(head) and n != f"{head}original"]
        if beside and all(re.fullmatch(r"\d+\.mask", n.removeprefix(head)) for n in beside):
            return f"{match['layer']}.{match['what']}{ending}"
    raise SparsebenchError(
        f"'{path}' computes weights from others (torch.nn.utils.parametrize, '{name}'); how, the "
        "file does not say.",
        "Call torch.nn.utils.parametrize.remove_parametrizations before saving.",
    )


def strip_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop a prefix that wrappers put before every name."""
    stripped = {plain_name(name): tensor for name, tensor in tensors.items()}
    found = True
    while found:
        found = False
        for prefix in _PREFIXES:
            if stripped and all(name.startswith(prefix) for name in stripped):
                stripped = {name[len(prefix) :]: t for name, t in stripped.items()}
                found = True
    return stripped
