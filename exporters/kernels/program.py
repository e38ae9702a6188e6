"""Runs a list of steps forward and backward in the blocked layout."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.kernels.buffers import Buffers
from exporters.kernels.layers import SparseConv2d
from exporters.kernels.layout import Blocked
from exporters.kernels.library import CNorm, CNormBackward, CWindow, Library
from exporters.kernels.steps import (
    PICTURES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
    last_uses,
)


@dataclass
class Tape:
    """What a forward pass leaves for the backward pass.

    Attributes:
        tensors: value -> blocked tensor.
        shapes: value -> its shape.
        statistics: value of a batch norm's output -> (mean, 1 / deviation), ``[C]`` each.
    """

    tensors: dict[int, Tensor] = field(default_factory=dict)
    shapes: dict[int, Blocked] = field(default_factory=dict)
    statistics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


class Program:
    """The steps, the layers that they name, and memory to run them in.

    Args:
        steps: in the order of execution.
        output: the value that is returned.
        layers: name -> module that holds its parameters.
        kernels: the compiled library.
        threads: to share the work.
    """

    def __init__(
        self,
        steps: list[Step],
        output: int,
        layers: dict[str, nn.Module],
        kernels: Library,
        threads: int,
    ) -> None:
        self.steps = steps
        self.output = output
        self.layers = layers
        self.threads = threads
        self.kernels = kernels
        self._dtype: torch.dtype = getattr(torch, kernels.dtype)
        self._buffers = Buffers(self._dtype)
        self._last = last_uses(steps, output)

    def forward(self, images: Tensor, *, training: bool, keep: bool) -> tuple[Tensor, Tape]:
        """Run all steps.

        Args:
            images: ``[N, C, H, W]``, of the kernels' data type.
            training: batch norm uses and updates the batch's statistics.
            keep: keep on the tape what a backward pass needs.

        Returns:
            The output, ``[N, C]`` after a mean over planes, else ``[N, C, H, W]``; and the tape.
        """
        tape = Tape()
        n, c, h, w = images.shape
        shape = Blocked(n, c, h, w, self.kernels.lanes, images.element_size())
        x = self._buffers.take(shape.numel)
        images = images.detach().contiguous()
        self.kernels.to_blocked(shape.reference, images.data_ptr(), x.data_ptr(), self.threads)
        tape.tensors[PICTURES], tape.shapes[PICTURES] = x, shape
        for i, step in enumerate(self.steps):
            self.forward_step(step, tape, training)
            if not keep:
                for value in (step.inp, step.residual):
                    if value is not None and self._last[value] == i and value in tape.tensors:
                        self._buffers.give(tape.tensors.pop(value))
        result = tape.tensors[self.output]
        if not isinstance(self.steps[-1], MeanStep):
            out = tape.shapes[self.output]
            plain = torch.empty(
                out.pictures, out.channels, out.height, out.width, dtype=self._dtype
            )
            self.kernels.from_blocked(
                out.reference, result.data_ptr(), plain.data_ptr(), self.threads
            )
            if not keep:
                self._buffers.give(tape.tensors.pop(self.output))
            result = plain
        return result, tape

    def forward_step(self, step: Step, tape: Tape, training: bool) -> None:
        """Run one step; its value goes onto the tape."""
        kernels, threads = self.kernels, self.threads
        x, inp = tape.tensors[step.inp], tape.shapes[step.inp]
        residual = None if step.residual is None else tape.tensors[step.residual]
        if isinstance(step, ConvStep):
            layer = self.layers[step.layer]
            assert isinstance(layer, SparseConv2d)
            compiled = layer.compiled(inp.height, inp.width, kernels, threads)
            out = compiled.output(inp)
            y = self._buffers.take(out.numel)
            if layer.execution == "dense":
                self._dense_forward(layer, x, inp, y, out)
            else:
                compiled.forward(inp, x, layer.values.detach(), y, bias=layer.bias)
        elif isinstance(step, NormStep):
            out = inp
            y = self._buffers.take(out.numel)
            tape.statistics[step.out] = self._norm(step, x, inp, residual, y, training)
        elif isinstance(step, ActStep):
            out = inp
            y = self._buffers.take(out.numel)
            kernels.act(
                inp.reference, x.data_ptr(), _pointer(residual), y.data_ptr(), step.act, threads
            )
        elif isinstance(step, MaxPoolStep):
            window = pool_window(step, inp)
            out = Blocked(
                inp.pictures, inp.channels, window.out_h, window.out_w, inp.lanes, inp.item_bytes
            )
            window.output = out.c
            y = self._buffers.take(out.numel)
            kernels.max_pool(ctypes.byref(window), x.data_ptr(), y.data_ptr(), threads)
        else:
            out = inp
            y = torch.empty(inp.pictures, inp.channels, dtype=self._dtype)
            kernels.mean_pool(inp.reference, x.data_ptr(), y.data_ptr(), threads)
        tape.tensors[step.out], tape.shapes[step.out] = y, out

    def _norm(
        self,
        step: NormStep,
        x: Tensor,
        shape: Blocked,
        residual: Tensor | None,
        y: Tensor,
        training: bool,
    ) -> tuple[Tensor, Tensor]:
        norm = self.layers[step.layer]
        assert isinstance(norm, nn.BatchNorm2d)
        batch = training or norm.running_mean is None
        mean = torch.empty(shape.channels, dtype=self._dtype)
        inverse = torch.empty_like(mean)
        tracked = batch and training and norm.running_mean is not None
        momentum = 0.0 if norm.momentum is None else norm.momentum
        if tracked and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                momentum = 1.0 / float(norm.num_batches_tracked)
        if not batch:
            assert norm.running_mean is not None and norm.running_var is not None
            mean.copy_(norm.running_mean)
            inverse.copy_((norm.running_var.double() + norm.eps).rsqrt())
        call = CNorm(
            shape=shape.c,
            input=x.data_ptr(),
            residual=_pointer(residual),
            output=y.data_ptr(),
            weight=_pointer(norm.weight),
            bias=_pointer(norm.bias),
            mean=mean.data_ptr(),
            inverse=inverse.data_ptr(),
            running_mean=_pointer(norm.running_mean) if tracked else None,
            running_var=_pointer(norm.running_var) if tracked else None,
            eps=norm.eps,
            momentum=momentum,
            training=int(batch),
            act=step.act,
        )
        self.kernels.norm(ctypes.byref(call), self.threads)
        return mean, inverse

    def _dense_forward(
        self, layer: SparseConv2d, x: Tensor, inp: Blocked, y: Tensor, out: Blocked
    ) -> None:
        with torch.no_grad():
            plain = layer(self._plain(x, inp)).contiguous()
        self.kernels.to_blocked(out.reference, plain.data_ptr(), y.data_ptr(), self.threads)

    def _plain(self, x: Tensor, shape: Blocked) -> Tensor:
        plain = torch.empty(
            shape.pictures, shape.channels, shape.height, shape.width, dtype=self._dtype
        )
        self.kernels.from_blocked(shape.reference, x.data_ptr(), plain.data_ptr(), self.threads)
        return plain

    def backward(
        self, tape: Tape, output_grad: Tensor, training: bool, wants_images: bool
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Run all steps backward; the tape's memory goes back to the buffers.

        Args:
            tape: of the forward pass.
            output_grad: of the shape of the output.
            training: as in the forward pass.
            wants_images: whether the gradient to the pictures is wanted.

        Returns:
            The gradient to the pictures or None, and those to the parameters by
            ``layer.parameter``.
        """
        grads: dict[int, Tensor] = {}
        found: dict[str, Tensor] = {}
        output_grad = output_grad.detach().contiguous()
        if not isinstance(self.steps[-1], MeanStep):
            out = tape.shapes[self.output]
            grads[self.output] = self._buffers.take(out.numel)
            self.kernels.to_blocked(
                out.reference, output_grad.data_ptr(), grads[self.output].data_ptr(), self.threads
            )
        else:
            grads[self.output] = output_grad
        for step in reversed(self.steps):
            if step.out in grads:
                self.backward_step(step, tape, grads, found, training, wants_images)
            done = tape.tensors.pop(step.out)
            if not isinstance(step, MeanStep):
                self._buffers.give(done)
        images_grad = None
        if wants_images and PICTURES in grads:
            images_grad = self._plain(grads[PICTURES], tape.shapes[PICTURES])
        self._buffers.give(tape.tensors.pop(PICTURES))
        return images_grad, found

    def backward_step(
        self,
        step: Step,
        tape: Tape,
        grads: dict[int, Tensor],
        found: dict[str, Tensor],
        training: bool,
        wants_images: bool,
    ) -> None:
        """Run one step backward: from the gradient of its value to those it depends on."""
        kernels, threads = self.kernels, self.threads
        x, inp = tape.tensors[step.inp], tape.shapes[step.inp]
        g = grads.pop(step.out)
        wanted = wants_images or step.inp != PICTURES
        if isinstance(step, ConvStep):
            layer = self.layers[step.layer]
            assert isinstance(layer, SparseConv2d)
            if layer.bias is not None:
                sums = torch.empty(layer.out_channels, dtype=self._dtype)
                out = tape.shapes[step.out]
                kernels.channel_sums(out.reference, g.data_ptr(), sums.data_ptr(), threads)
                found[f"{step.layer}.bias"] = sums
            name = f"{step.layer}.values"
            if layer.execution == "dense":
                found[name], gx = self._dense_backward(layer, x, inp, g, tape.shapes[step.out])
                if wanted:
                    self._contribute(grads, step.inp, gx, inp)
                else:
                    self._buffers.give(gx)
            else:
                compiled = layer.compiled(inp.height, inp.width, kernels, threads)
                accumulate = step.inp in grads
                if wanted and not accumulate:
                    grads[step.inp] = self._buffers.take(inp.numel)
                found[name] = compiled.backward(
                    inp, x, layer.values.detach(), g, grads.get(step.inp), accumulate
                )
            self._buffers.give(g)
        elif isinstance(step, NormStep):
            keep = step.residual is not None
            gx = self._buffers.take(inp.numel) if keep else g
            self._norm_backward(step, tape, g, gx, keep, found, training)
            if step.residual is not None:
                self._contribute(grads, step.residual, g, inp)
            if wanted:
                self._contribute(grads, step.inp, gx, inp)
        elif isinstance(step, ActStep):
            kernels.act_backward(
                inp.reference,
                g.data_ptr(),
                tape.tensors[step.out].data_ptr(),
                step.act,
                threads,
            )
            if step.residual is not None:
                copied = self._buffers.take(inp.numel)
                copied.copy_(g)
                self._contribute(grads, step.residual, copied, inp)
            self._contribute(grads, step.inp, g, inp)
        elif isinstance(step, MaxPoolStep):
            window = pool_window(step, inp)
            window.output = tape.shapes[step.out].c
            gx = self._buffers.take(inp.numel)
            kernels.max_pool_backward(
                ctypes.byref(window),
                x.data_ptr(),
                tape.tensors[step.out].data_ptr(),
                g.data_ptr(),
                gx.data_ptr(),
                threads,
            )
            self._buffers.give(g)
            self._contribute(grads, step.inp, gx, inp)
        else:
            gx = self._buffers.take(inp.numel)
            kernels.mean_pool_backward(inp.reference, g.data_ptr(), gx.data_ptr(), threads)
            self._contribute(grads, step.inp, gx, inp)

    def _norm_backward(
        self,
        step: NormStep,
        tape: Tape,
        g: Tensor,
        gx: Tensor,
        keep: bool,
        found: dict[str, Tensor],
        training: bool,
    ) -> None:
        norm = self.layers[step.layer]
        assert isinstance(norm, nn.BatchNorm2d)
        mean, inverse = tape.statistics[step.out]
        weight_grad, bias_grad = torch.empty_like(mean), torch.empty_like(mean)
        call = CNormBackward(
            shape=tape.shapes[step.out].c,
            output_grad=g.data_ptr(),
            output=tape.tensors[step.out].data_ptr(),
            input=tape.tensors[step.inp].data_ptr(),
            input_grad=gx.data_ptr(),
            weight=_pointer(norm.weight),
            mean=mean.data_ptr(),
            inverse=inverse.data_ptr(),
            weight_grad=weight_grad.data_ptr(),
            bias_grad=bias_grad.data_ptr(),
            training=int(training or norm.running_mean is None),
            act=step.act,
            keep=int(keep),
        )
        self.kernels.norm_backward(ctypes.byref(call), self.threads)
        if norm.weight is not None:
            found[f"{step.layer}.weight"] = weight_grad
            found[f"{step.layer}.bias"] = bias_grad

    def _contribute(
        self, grads: dict[int, Tensor], value: int, grad: Tensor, shape: Blocked
    ) -> None:
        """Hand a gradient to a value: the first becomes it, later ones are added."""
        if value not in grads:
            grads[value] = grad
            return
        total = grads[value].data_ptr()
        self.kernels.act(shape.reference, grad.data_ptr(), total, total, 0, self.threads)
        self._buffers.give(grad)

    def _dense_backward(
        self, layer: SparseConv2d, x: Tensor, inp: Blocked, g: Tensor, out: Blocked
    ) -> tuple[Tensor, Tensor]:
        geometry = layer.geometry(inp.height, inp.width)
        top, left, below, right = geometry.padding
        images = functional.pad(self._plain(x, inp), (left, right, top, below))
        gx, gw, _ = torch.ops.aten.convolution_backward(
            self._plain(g, out),
            images,
            layer.dense_weight().detach(),
            None,
            list(geometry.stride),
            [0, 0],
            list(geometry.dilation),
            False,
            [0, 0],
            geometry.groups,
            [True, True, False],
        )
        gx = gx[:, :, top : top + inp.height, left : left + inp.width].contiguous()
        blocked = self._buffers.take(inp.numel)
        self.kernels.to_blocked(inp.reference, gx.data_ptr(), blocked.data_ptr(), self.threads)
        return gw[layer.kept], blocked


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def pool_window(step: MaxPoolStep, inp: Blocked) -> Any:
    """The window as the kernels read it, without the shape of its output."""

    def size(n: int) -> int:
        return (n + 2 * step.padding - step.kernel) // step.stride + 1

    return CWindow(
        input=inp.c,
        in_h=inp.height,
        in_w=inp.width,
        out_h=size(inp.height),
        out_w=size(inp.width),
        kernel=step.kernel,
        stride=step.stride,
        padding=step.padding,
    )
