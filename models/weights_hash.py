"""A hash of what a network's weights are, whatever file they came from."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of the whole state dict, as hex digits.

    Batch norm's counters are left out: they change nothing in evaluation. The same
    weights give the same hash from any file format, on any little-endian machine.
    """
    digest = hashlib.sha256(b"sparsebench weights 1\n")
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        shape = ",".join(str(n) for n in tensor.shape)
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name}\0{dtype}\0{shape}\0".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
