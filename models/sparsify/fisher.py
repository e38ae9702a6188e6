"""The empirical Fisher matrix as a curvature: gradients, and its inverse in two forms.

``F = damp I + 1/m sum_i g_i g_i^T`` over the gradients g_i of m groups of images. Neither
form ever holds a matrix of the weights' number squared:

- :class:`BlockInverse`: one block after the other along the diagonal (WoodFisher). The paper
  adds one gradient at a time by the Sherman-Morrison formula; all at once is Woodbury's
  identity, the same matrix.
- :class:`MatrixFreeInverse`: the whole matrix, by M-FAC's recursion, whose vectors are kept as
  coefficients of the gradients (Frantar, Kurtic & Alistarh 2021, arXiv:2107.03356, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from sparsebench.models.sparsify.method import Run

# Above so many numbers gradients are kept in bf16: ResNet-18 and 64 gradients take 1.4 GB.
MOST_IN_FLOAT32 = 2**28
_CHUNK = 2**18  # columns of the gradients that are worked on at once


def collect_gradients(
    run: Run, masks: Mapping[str, Tensor], count: int, group_size: int
) -> tuple[Tensor, int]:
    """Gradients of the loss by all prunable weights, each a mean over a group of images.

    The network is in eval mode meanwhile. Removed weights have gradient 0: they are no part
    of the problem any more.

    Args:
        run: the training; its gradients are cleared.
        masks: of the weights kept; empty for all.
        count: of gradients wanted; an epoch of few images yields fewer.
        group_size: in a group, at most.

    Returns:
        float32 or bfloat16 ``[count, d]`` and the number of rows that are filled.
    """
    total = sum(w.numel() for w in run.weights.values())
    device = next(iter(run.weights.values())).device
    dtype = torch.float32 if total * count <= MOST_IN_FLOAT32 else torch.bfloat16
    rows = torch.zeros((count, total), dtype=dtype, device=device)
    training, filled = run.module.training, 0
    run.module.eval()
    for images, labels in islice(_groups(run, group_size), count):
        run.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(run.loss(images, labels))
        start = 0
        for name, weight in run.weights.items():
            assert weight.grad is not None
            gradient = weight.grad * masks[name] if masks else weight.grad
            rows[filled, start : start + weight.numel()] = gradient.flatten().to(dtype)
            start += weight.numel()
        filled += 1
    run.optimizer.zero_grad(set_to_none=True)
    run.module.train(training)
    return rows[:filled], filled


def _groups(run: Run, group_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in run.batches():
        parts = torch.split(images, group_size), torch.split(labels, group_size)
        yield from zip(*parts, strict=True)


class BlockInverse:
    """The inverse of F restricted to blocks of consecutive weights of one tensor.

    Args:
        gradients: ``[m, d]``, weights of all tensors one after the other.
        sizes: numbers of weights of the tensors, adding up to d.
        block: weights in a block; the last one of a tensor may be smaller.
        damp: added to the diagonal.
    """

    def __init__(self, gradients: Tensor, sizes: Sequence[int], block: int, damp: float) -> None:
        self._gradients, self._sizes, self._block, self._damp = gradients, sizes, block, damp
        self._dtype = torch.float64 if gradients.dtype == torch.float64 else torch.float32
        # (m damp I + G G^T)^-1 of each block; m is small, so double precision costs nothing.
        self._kernels = []
        count = len(gradients)
        for rows, _, _ in self._blocks():
            gram = (rows @ rows.mT).double()
            gram.diagonal(dim1=1, dim2=2).add_(count * damp)
            self._kernels.append(torch.linalg.inv(gram).to(self._dtype))

    def diagonal(self) -> Tensor:
        """Diagonal of the inverse, ``[d]``."""
        result = torch.empty(
            self._gradients.shape[1], dtype=self._dtype, device=self._gradients.device
        )
        for (rows, start, end), kernel in zip(self._blocks(), self._kernels, strict=True):
            part = (1 - (rows * (kernel @ rows)).sum(1)) / self._damp
            result[start:end] = part.flatten()[: end - start]
        return result

    def times(self, vector: Tensor) -> Tensor:
        """The inverse times a vector ``[d]``."""
        result = torch.empty_like(vector, dtype=self._dtype)
        for (rows, start, end), kernel in zip(self._blocks(), self._kernels, strict=True):
            part = torch.zeros(rows.shape[0] * rows.shape[2], dtype=self._dtype)
            part = part.to(vector.device)
            part[: end - start] = vector[start:end]
            part = part.view(rows.shape[0], rows.shape[2], 1)
            part = (part - rows.mT @ (kernel @ (rows @ part))) / self._damp
            result[start:end] = part.flatten()[: end - start]
        return result

    def _blocks(self) -> Iterator[tuple[Tensor, int, int]]:
        """Chunks of equally large blocks: ``[n, m, block]`` and the weights they stand for.

        What lacks at the end of a tensor is filled with zeros, which change no inverse.
        """
        start = 0
        for size in self._sizes:
            block = min(self._block, size)
            step = max(1, _CHUNK // block) * block
            for first in range(start, start + size, step):
                end = min(first + step, start + size)
                rows = self._gradients[:, first:end].to(self._dtype)
                rows = torch.nn.functional.pad(rows, (0, -(end - first) % block))
                yield rows.view(len(rows), -1, block).transpose(0, 1), first, end
            start += size


class MatrixFreeInverse:
    """The inverse of the whole F by M-FAC's recursion.

    With ``v_i = F_(i-1)^-1 g_i``, where F_i holds the first i gradients::

        v_i = g_i / damp - sum_(j<i) v_j (v_j . g_i) / (m + g_j . v_j)
        F^-1 x = x / damp - sum_j v_j (v_j . x) / (m + g_j . v_j)

    Every v_i is a combination of g_1 to g_i; its coefficients follow from the products
    of the gradients with each other alone, so that the v_i need no memory.

    Args:
        gradients: ``[m, d]``.
        damp: added to the diagonal.
    """

    def __init__(self, gradients: Tensor, damp: float) -> None:
        self._gradients, self._damp = gradients, damp
        self._dtype = torch.float64 if gradients.dtype == torch.float64 else torch.float32
        count = len(gradients)
        gram = torch.zeros((count, count), dtype=torch.float64, device=gradients.device)
        for rows, _, _ in self._chunks():
            gram += (rows @ rows.mT).double()
        rows_of_v = torch.zeros_like(gram)
        scales = torch.zeros(count, dtype=torch.float64, device=gram.device)
        for i in range(count):
            along = rows_of_v[:i] @ gram[:, i]  # v_j . g_i
            rows_of_v[i] = -(along / scales[:i]) @ rows_of_v[:i]
            rows_of_v[i, i] += 1 / damp
            scales[i] = count + gram[i] @ rows_of_v[i]
        self._coefficients, self._scales = rows_of_v, scales

    def diagonal(self) -> Tensor:
        """Diagonal of the inverse, ``[d]``."""
        result = torch.empty(
            self._gradients.shape[1], dtype=self._dtype, device=self._gradients.device
        )
        # Scaled so that single precision holds what is subtracted from 1 / damp.
        scaled = self._coefficients * (self._damp / self._scales).sqrt()[:, None]
        for rows, start, end in self._chunks():
            result[start:end] = (1 - (scaled.to(self._dtype) @ rows).square().sum(0)) / self._damp
        return result

    def times(self, vector: Tensor) -> Tensor:
        """The inverse times a vector ``[d]``."""
        along = torch.zeros(len(self._gradients), dtype=torch.float64, device=vector.device)
        for rows, start, end in self._chunks():
            along += (rows @ vector[start:end].to(self._dtype)).double()
        weights = self._coefficients.T @ ((self._coefficients @ along) / self._scales)
        result = vector.to(self._dtype) / self._damp
        for rows, start, end in self._chunks():
            result[start:end] -= weights.to(self._dtype) @ rows
        return result

    def _chunks(self) -> Iterator[tuple[Tensor, int, int]]:
        total = self._gradients.shape[1]
        for start in range(0, total, _CHUNK):
            end = min(start + _CHUNK, total)
            yield self._gradients[:, start:end].to(self._dtype), start, end
