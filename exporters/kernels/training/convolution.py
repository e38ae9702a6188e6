"""One sparse convolution: forward, gradient to the input, gradient to the non-zeros."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.exporters.kernels.compiled.assembly import Plan
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import NONE, CBackward, CForward, Library
from sparsebench.exporters.kernels.compiled.plan import Pattern, backward_plan, forward_plan
from sparsebench.exporters.kernels.generated.correlation import GeneratedCorrelation
from sparsebench.exporters.kernels.generated.peak import pairs_pay
from sparsebench.exporters.kernels.training.generated import (
    Generated,
    generated_input_gradient,
    generated_output,
    why_not,
)
from sparsebench.exporters.kernels.training.matrix import MatrixSums
from sparsebench.models.errors import SparsebenchError

# Measured, see ROOFLINE.md. Below this share of non-zeros the compiled pass, which reads each
# vector once for both gradients, is as fast as two generated ones in fp32.
_LEAST_DENSITY = 0.2
# With fewer vectors in a channel loading and storing the sums of a few places takes the most time.
_LEAST_PLACES = 128
_LEAST_PAIRED = 64  # the same where the gradient of the non-zeros is summed in pairs of bf16
# The matrix unit computes zeros, too: the least density. It is the third number with fewer vectors
# in a channel than the second, where storing the sums of all weights takes the most time, and for
# kernels of one tap, where copies do.
_LEAST_MATRIX, _FEW_MATRIX, _LEAST_OF_FEW = 0.02, 32, 0.15


@dataclass
class _Plans:
    generated: Generated | None  # the output, where nothing is added to it
    inputs: dict[bool, Generated | None] = field(default_factory=dict)  # by accumulation
    # One, once tried.
    correlation: list[GeneratedCorrelation | MatrixSums | None] = field(default_factory=list)
    forward: Plan | None = None
    backward: Plan | None = None
    weights: Plan | None = None


class Convolution:
    """A fixed pattern of non-zeros; values come with every call.

    Args:
        kept: bool ``[O, C / groups, kh, kw]``, True where a weight is kept.
        geometry: of the convolution.
        kernels: the compiled library; its data type is that of every tensor here.
        threads: to share the work.
        bf16: whether inputs are kept in bf16 and, where the processor is faster so, the gradient of
            the non-zeros takes what it multiplies in bf16: on its matrix unit or, as generated
            code, in pairs; sums are of the kernels' data type.

    Attributes:
        why_not: why the last forward pass that was compiled is no generated code, or nothing.
        backward_path: of the last backward pass: ``generated``, ``compiled``, or two where one
            gives the gradient of the input and the other, which may be ``matrix`` (the unit of
            that name), that of the non-zeros; ``(bf16)`` behind it where this was in bf16.
    """

    def __init__(
        self,
        kept: NDArray[np.bool_],
        geometry: Geometry,
        kernels: Library,
        threads: int,
        bf16: bool = False,
    ) -> None:
        assert kept.shape == geometry.weight_shape
        self.geometry = geometry
        self._kept = kept
        self._count = int(np.count_nonzero(kept))
        self._density = self._count / max(1, kept.size)
        self._kernels = kernels
        self._threads = threads
        self._bf16 = bf16
        self._matrix = bf16 and geometry.groups == 1 and kernels.has_matrix
        self._pairs = bf16 and pairs_pay()
        self.why_not = why_not(kernels, self._count)
        self.backward_path = ""
        self._plans: dict[tuple[int, ...], _Plans] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def pattern(self) -> Pattern:
        """The non-zeros; made anew, because plans need it once and it is large."""
        return Pattern.of(self._kept, self.geometry.groups)

    def output(self, inp: Blocked) -> Blocked:
        """Shape of the output for an input of this shape."""
        height, width = self.geometry.output_size(inp.height, inp.width)
        return Blocked(
            inp.images, self.geometry.out_channels, height, width, inp.lanes, inp.item_bytes
        )

    def forward(
        self,
        inp: Blocked,
        x: Tensor,
        values: Tensor,
        y: Tensor,
        *,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        act: int = NONE,
    ) -> None:
        """``y = act(conv(x) + bias + residual)``, all in the blocked layout.

        Args:
            inp: shape of ``x``.
            x: input.
            values: the non-zeros in row-major order.
            y: output, overwritten.
            bias: ``[O]``.
            residual: of ``y``'s shape.
            act: activation, see :mod:`sparsebench.exporters.kernels.compiled.library`.
        """
        plans = self._of(inp)
        if plans.generated and residual is None and act == NONE:
            plans.generated.fill(values, bias)
            plans.generated.run(self._kernels, x, y, self._threads)
            return
        plan = plans.forward = plans.forward or self._plan(inp)
        self._pack(plan, values)
        call = CForward(
            x.data_ptr(),
            y.data_ptr(),
            None if bias is None else bias.data_ptr(),
            None if residual is None else residual.data_ptr(),
            act,
        )
        kernels = self._kernels
        run = kernels.forward2 if plan.c.stride == 2 else kernels.forward1
        run(plan.reference, ctypes.byref(call), self._threads)

    def backward(
        self,
        inp: Blocked,
        x: Tensor,
        values: Tensor,
        y_grad: Tensor,
        x_grad: Tensor | None,
        accumulate: bool = False,
    ) -> Tensor:
        """The gradient to the non-zeros ``[nnz]``; that to the input goes into ``x_grad``.

        Args:
            inp: shape of ``x``.
            x: input of the forward pass; or its copy in bf16, which only generated code for the
                gradient of the non-zeros reads as it is.
            values: the non-zeros.
            y_grad: gradient of the output; lanes without an image are zero.
            x_grad: gradient of the input, or None if it is not wanted.
            accumulate: add to ``x_grad`` instead of overwriting it.
        """
        plans = self._of(inp)
        paths = []
        if x_grad is not None and (code := self._input_code(plans, inp, accumulate)):
            code.fill(values, None)
            code.run(self._kernels, y_grad, x_grad, self._threads)
            x_grad = None
            paths.append("generated")
        sums = self._correlation(plans, inp) if x_grad is None else None
        paths.append(sums.path if sums else "compiled")
        self.backward_path = "+".join(dict.fromkeys(paths))
        self.backward_path += " (bf16)" * bool(sums and sums.bf16)
        if sums:
            return sums.run(self._kernels, x, y_grad, self._threads)
        kernels, x = self._kernels, x.to(values.dtype)
        if x_grad is None:
            plan = plans.weights = plans.weights or self._plan(inp, weights_only=True)
            run = kernels.weights2 if plan.c.stride == 2 else kernels.weights1
            own, other = y_grad, x
        else:
            plan = plans.backward = plans.backward or self._backward_plan(inp)
            self._pack(plan, values)
            run = kernels.backward
            own, other = x, y_grad
        packed = torch.zeros(len(self), dtype=values.dtype)
        call = CBackward(
            other.data_ptr(),
            own.data_ptr(),
            None if x_grad is None else x_grad.data_ptr(),
            packed.data_ptr(),
            accumulate,
        )
        run(plan.reference, ctypes.byref(call), self._threads)
        grads = torch.empty_like(packed)
        kernels.unpack(
            len(self),
            packed.data_ptr(),
            plan.order.ctypes.data,
            grads.data_ptr(),
            self._threads,
        )
        return grads

    def _pack(self, plan: Plan, values: Tensor) -> None:
        assert values.is_contiguous() and values.numel() == len(self)
        self._kernels.pack(
            len(self),
            values.data_ptr(),
            plan.order.ctypes.data,
            plan.entries.ctypes.data,
            self._threads,
        )

    def _of(self, inp: Blocked) -> _Plans:
        # How many images the last block holds changes nothing.
        key = (inp.blocks, inp.height, inp.width, inp.lanes, inp.item_bytes)
        if key not in self._plans:
            # Trainings have one shape of batch, and last ones when they train and evaluate.
            if len(self._plans) >= 6:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = _Plans(self._generated(inp))
        return self._plans[key]

    def _generated(self, inp: Blocked) -> Generated | None:
        self.why_not = why_not(self._kernels, self._count)
        if self.why_not:
            return None
        try:
            return generated_output(self.pattern, self.geometry, inp, self.output(inp))
        except SparsebenchError as error:  # this shape cannot be had, or no memory
            self.why_not = error.cause
            return None

    def _input_code(self, plans: _Plans, inp: Blocked, accumulate: bool) -> Generated | None:
        """Code for the gradient of the input, where it pays."""
        out = self.output(inp)
        few = self._few(out)
        if plans.generated is None:
            return None
        if few and self.geometry.kernel == (1, 1) and not self._on_matrix(out):
            return None
        if self._density < _LEAST_DENSITY and not (few or self._bf16):
            return None
        if accumulate not in plans.inputs:
            try:
                plans.inputs[accumulate] = generated_input_gradient(
                    self.pattern, self.geometry, inp, out, accumulate
                )
            except SparsebenchError:  # no memory; the compiled pass gives both gradients
                plans.inputs[accumulate] = None
        return plans.inputs[accumulate]

    def _correlation(self, plans: _Plans, inp: Blocked) -> GeneratedCorrelation | MatrixSums | None:
        """The matrix unit or code for the gradient of the non-zeros, where it pays."""
        out = self.output(inp)
        matrix = self._on_matrix(out)
        if not matrix and (plans.generated is None or self._few(out)):
            return None
        if not plans.correlation:
            try:
                plans.correlation.append(
                    MatrixSums(self.pattern, self.geometry, inp, out)
                    if matrix
                    else GeneratedCorrelation(self.pattern, self.geometry, inp, out, self._pairs)
                )
            except SparsebenchError:  # no memory, or too many sums
                plans.correlation.append(None)
        return plans.correlation[0]

    def _on_matrix(self, out: Blocked) -> bool:
        """Whether the matrix unit gives the gradient of the non-zeros."""
        few = out.blocks * out.plane < _FEW_MATRIX or self.geometry.kernel == (1, 1)
        return self._matrix and self._density >= (_LEAST_OF_FEW if few else _LEAST_MATRIX)

    def _few(self, out: Blocked) -> bool:
        """Whether a channel has too few vectors for a generated gradient of the non-zeros."""
        return out.blocks * out.plane < (_LEAST_PAIRED if self._pairs else _LEAST_PLACES)

    def _plan(self, inp: Blocked, weights_only: bool = False) -> Plan:
        return forward_plan(
            self.pattern,
            self.geometry,
            inp,
            self.output(inp),
            threads=self._threads,
            most=self._kernels.most_forward,
            most_alike=self._kernels.most_alike,
            weights_only=weights_only,
        )

    def _backward_plan(self, inp: Blocked) -> Plan:
        return backward_plan(
            self.pattern,
            self.geometry,
            inp,
            self.output(inp),
            threads=self._threads,
            most=self._kernels.most_backward,
        )
