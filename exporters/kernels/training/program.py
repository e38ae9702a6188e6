"""Runs a list of steps forward and backward in the blocked layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
    last_uses,
)
from sparsebench.exporters.kernels.training.buffers import Buffers, pointer
from sparsebench.exporters.kernels.training.dense import dense_backward, dense_forward
from sparsebench.exporters.kernels.training.fitting import check_step
from sparsebench.exporters.kernels.training.functional import from_blocked
from sparsebench.exporters.kernels.training.layers import SparseConv2d
from sparsebench.exporters.kernels.training.normalise import norm_backward, norm_forward
from sparsebench.exporters.kernels.training.pooling import pooled_shape
from sparsebench.exporters.kernels.training.tape import Tape, halved


class Program:
    """The steps, the layers that they name, and memory to run them in.

    Args:
        steps: in the order of execution.
        outputs: the values that are returned.
        layers: name -> module that holds its parameters.
        kernels: the compiled library.
        threads: to share the work.
        buffers: memory; of its own by default.
        bf16: see :func:`~sparsebench.exporters.kernels.training.module.sparsify_module`.
    """

    def __init__(
        self,
        steps: list[Step],
        outputs: tuple[int, ...],
        layers: dict[str, nn.Module],
        kernels: Library,
        threads: int,
        buffers: Buffers | None = None,
        bf16: bool = False,
    ) -> None:
        self.steps = steps
        self.outputs = outputs
        self.layers = layers
        self.threads = threads
        self.kernels = kernels
        self.bf16 = bf16
        self._dtype: torch.dtype = getattr(torch, kernels.dtype)
        self._buffers = Buffers(self._dtype) if buffers is None else buffers
        self._last = last_uses(steps, *outputs)
        self._pooled = {step.out for step in steps if isinstance(step, MeanStep)}
        self._halved = halved(steps) if bf16 else set()
        # What a batch norm reads, nobody after it, and is kept in bf16, becomes what it writes.
        self._in_place = {
            step.out
            for i, step in enumerate(steps)
            if isinstance(step, NormStep) and step.pool is None
            if step.inp in self._halved and self._last[step.inp] == i
        }

    def forward(self, images: Tensor, *, keep: bool) -> tuple[tuple[Tensor, ...], Tape]:
        """Run all steps.

        Args:
            images: ``[N, C, H, W]``, of the kernels' data type.
            keep: keep on the tape what a backward pass needs.

        Returns:
            Each output, ``[N, C]`` after a mean over planes, else ``[N, C, H, W]``; and the tape.
        """
        tape = Tape(keep)
        self._buffers.begin()
        n, c, h, w = images.shape
        shape = Blocked(n, c, h, w, self.kernels.lanes, images.element_size())
        x = self._buffers.take(shape.numel)
        images = images.detach().contiguous()
        self.kernels.to_blocked(shape.reference, images.data_ptr(), x.data_ptr(), self.threads)
        tape.tensors[IMAGES], tape.shapes[IMAGES] = x, shape
        for i, step in enumerate(self.steps):
            self.forward_step(step, tape)
            for value in (step.inp, step.residual):
                if value not in tape.tensors or self._last[value] != i:
                    continue
                if not keep or value in self._halved:
                    self._buffers.give(tape.tensors.pop(value))
            if not keep and step.out in tape.which:
                self._buffers.give(tape.which.pop(step.out))
        return tuple(self._handed_over(value, tape, keep) for value in self.outputs), tape

    def _handed_over(self, value: int, tape: Tape, keep: bool) -> Tensor:
        """A value in the plain layout."""
        result = tape.tensors[value]
        if value in self._pooled:
            return result
        plain = from_blocked(result, tape.shapes[value], self.kernels, self.threads)
        if not keep:
            self._buffers.give(tape.tensors.pop(value))
        return plain

    def forward_step(self, step: Step, tape: Tape) -> None:
        """Run one step; its value goes onto the tape.

        Raises:
            SparsebenchError: a layer gets another number of channels, or an addition another
                shape, than it is made for.
        """
        kernels, threads = self.kernels, self.threads
        x, inp = tape.tensors[step.inp], tape.shapes[step.inp]
        residual = None if step.residual is None else tape.tensors[step.residual]
        other = inp if step.residual is None else tape.shapes[step.residual]
        check_step(step, self.layers.get(getattr(step, "layer", "")), inp, other)
        if isinstance(step, ConvStep):
            layer = self.layers[step.layer]
            assert isinstance(layer, SparseConv2d)
            compiled = layer.compiled(inp.height, inp.width, kernels, threads, self.bf16)
            out = compiled.output(inp)
            y = self._buffers.take(out.numel)
            if layer.execution == "dense":
                dense_forward(kernels, threads, layer, x, inp, y, out, self.bf16)
            else:
                compiled.forward(inp, x, layer.values.detach(), y, bias=layer.bias)
        elif isinstance(step, NormStep):
            pooled = None if step.pool is None else pooled_shape(step.pool, inp)
            out = inp if pooled is None else pooled.out
            halves = None
            if tape.keep and step.out in self._halved:
                halves = (
                    tape.room(step.inp, inp, self._buffers),
                    tape.room(step.out, out, self._buffers),
                )
            if tape.keep and step.out in self._in_place:
                y = tape.tensors.pop(step.inp)
            else:
                y = self._buffers.take(out.numel)
            if pooled is not None:
                tape.which[step.out] = self._buffers.take(-(-out.numel // out.item_bytes))
                pooled = replace(pooled, which=tape.which[step.out])
            norm = self._norm(step)
            if norm.training:
                tape.trained.add(step.out)
            tape.statistics[step.out] = norm_forward(
                *(kernels, threads, norm, step.act, x, inp, residual, y, norm.training),
                pooled,
                halves,
            )
        elif isinstance(step, ActStep):
            out = inp
            y = self._buffers.take(out.numel)
            kernels.act(
                inp.reference, x.data_ptr(), pointer(residual), y.data_ptr(), step.act, threads
            )
        elif isinstance(step, MaxPoolStep):
            pool = pooled_shape(step, inp)
            out = pool.out
            y = self._buffers.take(out.numel)
            kernels.max_pool(pool.reference, x.data_ptr(), y.data_ptr(), threads)
        else:
            out = inp
            y = torch.empty(inp.images, inp.channels, dtype=self._dtype)
            kernels.mean_pool(inp.reference, x.data_ptr(), y.data_ptr(), threads)
        tape.tensors[step.out], tape.shapes[step.out] = y, out

    def backward(
        self, tape: Tape, output_grads: Sequence[Tensor | None], wants_images: bool
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Run all steps backward; the tape's memory goes back to the buffers.

        Args:
            tape: of the forward pass.
            output_grads: each of the shape of its output; None where nothing depends on it.
            wants_images: whether the gradient to the images is wanted.

        Returns:
            The gradient to the images or None, and those to the parameters by
            ``layer.parameter``.
        """
        grads: dict[int, Tensor] = {}
        found: dict[str, Tensor] = {}
        for value, given in zip(self.outputs, output_grads, strict=True):
            if given is None:
                continue
            grad = given.detach().contiguous()
            if value not in self._pooled:
                out, plain = tape.shapes[value], grad
                grad = self._buffers.take(out.numel)
                self.kernels.to_blocked(
                    out.reference, plain.data_ptr(), grad.data_ptr(), self.threads
                )
            grads[value] = grad
        for step in reversed(self.steps):
            if step.out in grads:
                self.backward_step(step, tape, grads, found, wants_images)
            if isinstance(step, MeanStep):
                del tape.tensors[step.out]
            tape.forget(step.out, self._buffers)
        images_grad = None
        if wants_images and IMAGES in grads:
            images_grad = from_blocked(
                grads[IMAGES], tape.shapes[IMAGES], self.kernels, self.threads
            )
        tape.forget(IMAGES, self._buffers)
        return images_grad, found

    def backward_step(
        self,
        step: Step,
        tape: Tape,
        grads: dict[int, Tensor],
        found: dict[str, Tensor],
        wants_images: bool,
    ) -> None:
        """Run one step backward: from the gradient of its value to those it depends on."""
        kernels, threads = self.kernels, self.threads
        inp = tape.shapes[step.inp]
        g = grads.pop(step.out)
        wanted = wants_images or step.inp != IMAGES
        if isinstance(step, ConvStep):
            layer, x = self.layers[step.layer], tape.kept(step.inp)
            assert isinstance(layer, SparseConv2d)
            if layer.bias is not None:
                sums = torch.empty(layer.out_channels, dtype=self._dtype)
                out = tape.shapes[step.out]
                kernels.channel_sums(out.reference, g.data_ptr(), sums.data_ptr(), threads)
                _add(found, f"{step.layer}.bias", sums)
            name = f"{step.layer}.values"
            if layer.execution == "dense":
                gx = self._buffers.take(inp.numel)
                out = tape.shapes[step.out]
                grad = dense_backward(kernels, threads, layer, x, inp, g, out, gx, self.bf16)
                if wanted:
                    self._contribute(grads, step.inp, gx, inp)
                else:
                    self._buffers.give(gx)
            else:
                compiled = layer.compiled(inp.height, inp.width, kernels, threads, self.bf16)
                accumulate = step.inp in grads
                if wanted and not accumulate:
                    grads[step.inp] = self._buffers.take(inp.numel)
                grad = compiled.backward(
                    inp, x, layer.values.detach(), g, grads.get(step.inp), accumulate
                )
            _add(found, name, grad)
            self._buffers.give(g)
        elif isinstance(step, NormStep):
            keep = step.residual is not None
            pooled = None
            if step.pool is not None:
                pooled = replace(pooled_shape(step.pool, inp), which=tape.which[step.out])
            gx = self._buffers.take(inp.numel) if keep or pooled else g
            norm, training = self._norm(step), step.out in tape.trained
            used = tape.statistics[step.out]
            x, y = tape.kept(step.inp), tape.kept(step.out)
            weight_grad, bias_grad = norm_backward(
                kernels,
                threads,
                norm,
                step.act,
                used,
                x,
                y,
                inp,
                g,
                gx,
                keep=keep,
                training=training,
                pooled=pooled,
            )
            if pooled is not None:
                self._buffers.give(g)
            if norm.weight is not None:
                _add(found, f"{step.layer}.weight", weight_grad)
                _add(found, f"{step.layer}.bias", bias_grad)
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
            gx = self._buffers.take(inp.numel)
            kernels.max_pool_backward(
                pooled_shape(step, inp).reference,
                tape.tensors[step.inp].data_ptr(),
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

    def _norm(self, step: NormStep) -> nn.BatchNorm2d:
        norm = self.layers[step.layer]
        assert isinstance(norm, nn.BatchNorm2d)
        return norm

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


def _add(found: dict[str, Tensor], name: str, grad: Tensor) -> None:
    """A layer that is called twice has two gradients."""
    found[name] = found[name] + grad if name in found else grad
