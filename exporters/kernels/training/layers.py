"""The layer that stands where a masked Conv2d or Linear stood: its non-zeros, nothing else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import Library, library
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.exporters.kernels.training.convolution import Convolution

_SPARSE, _DENSE = "sparse", "dense"


class SparseConv2d(nn.Module):
    """A convolution whose parameters are its non-zeros.

    Attributes:
        values: ``[nnz]``, in row-major order of the dense weight.
        bias: ``[O]`` or None.
        execution: ``sparse`` (these kernels) or ``dense`` (PyTorch's, zeros included).
    """

    values: nn.Parameter
    kept: Tensor

    def __init__(self, layer: nn.Conv2d, kept: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(layer.weight.detach()[kept].contiguous())
        self.bias = layer.bias
        # Not in the state dict: `to_state_dict` gives the ordinary one.
        self.register_buffer("kept", kept.clone(), persistent=False)
        self._negative = _negative_zeros(layer.weight, kept)
        self.execution = _SPARSE
        self._layer = {
            "kernel": _pair(layer.kernel_size),
            "stride": _pair(layer.stride),
            "dilation": _pair(layer.dilation),
        }
        self.groups = layer.groups
        self.in_channels = layer.in_channels
        self.out_channels = layer.out_channels
        # timm's TensorFlow variant pads by the size of its input, more at the end.
        self._same = type(layer).__name__ == "Conv2dSame" or layer.padding == "same"
        self._padding = (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)
        self._compiled: dict[Geometry, Convolution] = {}

    def geometry(self, height: int, width: int) -> Geometry:
        """The convolution for an input of this size."""
        if self._same:
            before, after = [], []
            for axis, size in enumerate((height, width)):
                stride = self._layer["stride"][axis]
                reach = self._layer["dilation"][axis] * (self._layer["kernel"][axis] - 1) + 1
                total = max(0, (-(-size // stride) - 1) * stride + reach - size)
                before.append(total // 2)
                after.append(total - total // 2)
            padding = (*before, *after)
        else:
            padding = (*self._padding, *self._padding)
        return Geometry(
            self.out_channels,
            self.in_channels,
            padding=padding,  # type: ignore[arg-type]
            groups=self.groups,
            **self._layer,
        )

    def compiled(
        self, height: int, width: int, kernels: Library, threads: int, bf16: bool = False
    ) -> Convolution:
        """The pattern compiled for inputs of this size, see :class:`Convolution`; kept for the
        next call."""
        from sparsebench.exporters.kernels.training.convolution import Convolution

        geometry = self.geometry(height, width)
        if geometry not in self._compiled:
            self._compiled[geometry] = Convolution(
                np.asarray(self.kept), geometry, kernels, threads, bf16
            )
        return self._compiled[geometry]

    def why_not(self) -> str:
        """Why the forward pass is not generated code, or nothing, see :class:`Convolution`."""
        found = list(self._compiled.values())
        return found[-1].why_not if found else "It is not compiled yet."

    def backward_path(self) -> str:
        """Which code the last sparse backward pass was, see :class:`Convolution`."""
        found = list(self._compiled.values())
        return found[-1].backward_path if found else ""

    def dense_weight(self) -> Tensor:
        """``[O, C / groups, kh, kw]``, zeros where nothing is kept; differentiable."""
        weight = torch.zeros(self.kept.shape, dtype=self.values.dtype)
        return weight.masked_scatter(self.kept, self.values)

    def forward(self, images: Tensor) -> Tensor:
        """Dense, for inputs ``[N, C, H, W]``: what the kernels are measured against."""
        geometry = self.geometry(*images.shape[-2:])
        top, left, below, right = geometry.padding
        padded = functional.pad(images, (left, right, top, below))
        return functional.conv2d(
            padded,
            self.dense_weight(),
            self.bias,
            geometry.stride,
            0,
            geometry.dilation,
            geometry.groups,
        )

    def state_weight(self) -> Tensor:
        """:meth:`dense_weight` for a file: detached, and zeros have the sign they had."""
        return _signed(self.dense_weight().detach(), self._negative)

    def get_extra_state(self) -> Tensor:
        """What tells this mask from others of as many non-zeros: uint8 ``[16]``."""
        return _digest(self.kept)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse values of another mask.

        Raises:
            SparsebenchError: the state is that of another mask.
        """
        _same_mask(state, self.kept)

    def __getstate__(self) -> dict[str, object]:
        """For copies and files; what was compiled is compiled again when needed."""
        return {**self.__dict__, "_compiled": {}}

    def extra_repr(self) -> str:
        """Channels, kernel and the share that is kept."""
        return (
            f"{self.in_channels}, {self.out_channels}, {self._layer['kernel']}, "
            f"nonzeros={self.values.numel()} of {self.kept.numel()}, {self.execution}"
        )


class SparseLinear(nn.Module):
    """A linear layer whose parameters are its non-zeros: a 1x1 convolution of 1x1 planes.

    Attributes:
        values: ``[nnz]``, in row-major order of the dense weight.
        bias: ``[O]`` or None.
        execution: ``sparse`` (these kernels) or ``dense`` (PyTorch's, zeros included).

    Args:
        layer: what it stands for.
        kept: bool ``[O, I]``, True where a weight is kept.
        kernels: the compiled library.
        threads: to compute with.
    """

    values: nn.Parameter
    kept: Tensor

    def __init__(self, layer: nn.Linear, kept: Tensor, kernels: Library, threads: int) -> None:
        super().__init__()
        self.values = nn.Parameter(layer.weight.detach()[kept].contiguous())
        self.bias = layer.bias
        self.register_buffer("kept", kept.clone(), persistent=False)
        self._negative = _negative_zeros(layer.weight, kept)
        self.execution = _SPARSE
        self._kernels, self._threads = kernels, threads
        self._compiled: Convolution | None = None

    def why_not(self) -> str:
        """As :meth:`SparseConv2d.why_not`."""
        return self._pattern().why_not

    def backward_path(self) -> str:
        """As :meth:`SparseConv2d.backward_path`."""
        return self._pattern().backward_path

    def dense_weight(self) -> Tensor:
        """``[O, I]``, zeros where nothing is kept; differentiable."""
        weight = torch.zeros(self.kept.shape, dtype=self.values.dtype)
        return weight.masked_scatter(self.kept, self.values)

    def forward(self, inputs: Tensor) -> Tensor:
        """``[..., I]`` to ``[..., O]``; what the kernels have no type for is computed dense."""
        known = inputs.dtype == self.values.dtype and inputs.device.type == "cpu"
        if self.execution == _DENSE or not known or not inputs.numel():
            return functional.linear(inputs, self.dense_weight(), self.bias)
        from sparsebench.exporters.kernels.training.functional import sparse_conv2d

        rows = inputs.reshape(-1, inputs.shape[-1], 1, 1)
        out = sparse_conv2d(rows, self.values, self._pattern(), self._kernels, self._threads)
        out = out.reshape(*inputs.shape[:-1], len(self.kept))
        return out if self.bias is None else out + self.bias

    def _pattern(self) -> Convolution:
        from sparsebench.exporters.kernels.training.convolution import Convolution

        if self._compiled is None:
            outputs, width = self.kept.shape
            geometry = Geometry(outputs, width, kernel=(1, 1))
            kept = np.asarray(self.kept)[:, :, None, None]
            self._compiled = Convolution(kept, geometry, self._kernels, self._threads)
        return self._compiled

    def state_weight(self) -> Tensor:
        """As :meth:`SparseConv2d.state_weight`."""
        return _signed(self.dense_weight().detach(), self._negative)

    def get_extra_state(self) -> Tensor:
        """As :meth:`SparseConv2d.get_extra_state`."""
        return _digest(self.kept)

    def set_extra_state(self, state: Tensor) -> None:
        """As :meth:`SparseConv2d.set_extra_state`."""
        _same_mask(state, self.kept)

    def __getstate__(self) -> dict[str, object]:
        """For copies and files; the library is found, the pattern compiled again."""
        kernels = (self._kernels.dtype, self._kernels.isa)
        return {**self.__dict__, "_compiled": None, "_kernels": kernels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._kernels = library(*state["_kernels"])

    def extra_repr(self) -> str:
        """Features and the share that is kept."""
        outputs, width = self.kept.shape
        kept = f"nonzeros={self.values.numel()} of {self.kept.numel()}"
        return f"{width}, {outputs}, {kept}, {self.execution}"


def _pair(value: object) -> tuple[int, int]:
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value),) * 2  # type: ignore[call-overload]


def _negative_zeros(weight: Tensor, kept: Tensor) -> Tensor | None:
    """Where a zero that is not kept has a sign, as products with a mask have; None: nowhere."""
    found = torch.signbit(weight.detach()) & ~kept
    return found if bool(found.any()) else None


def _signed(weight: Tensor, negative: Tensor | None) -> Tensor:
    return weight if negative is None else weight.masked_fill(negative, -0.0)


def _digest(kept: Tensor) -> Tensor:
    bits = np.packbits(np.asarray(kept)).tobytes()
    digest = hashlib.sha256(f"{tuple(kept.shape)}".encode() + bits).digest()[:16]
    return torch.tensor(list(digest), dtype=torch.uint8)


def _same_mask(state: Tensor, kept: Tensor) -> None:
    if not torch.equal(state.cpu(), _digest(kept)):
        raise SparsebenchError(
            "The state dict is that of a network with another mask: its values would go to "
            "other places.",
            "Load the dense weights (to_state_dict) and make the network sparse again.",
        )
