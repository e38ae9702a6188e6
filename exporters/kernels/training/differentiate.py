"""The steps of a network as one operation of autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsebench.exporters.kernels.training.program import Program
from sparsebench.exporters.kernels.training.tape import Tape


class Run(torch.autograd.Function):
    """``apply(images, program, grads, names, *parameters)`` -> the program's outputs, a tuple.

    ``grads`` tells whether gradients were on outside; ``names`` are those of the parameters,
    ``layer.parameter``.
    """

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, program: Program, grads: bool, names: list[str], *given: Tensor
    ) -> tuple[Tensor, ...]:
        """Run the steps; keep what a backward pass needs."""
        keep = grads and any(ctx.needs_input_grad)
        outputs, tape = program.forward(images, keep=keep)
        ctx.set_materialize_grads(False)
        ctx.tape = tape if keep else None
        if keep:
            ctx.facts = (program, names, given, [p._version for p in given])
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """The gradients to the images and to the parameters.

        Raises:
            RuntimeError: a second time, or after a weight was changed in place.
        """
        tape: Tape | None = ctx.tape
        if tape is None:
            raise RuntimeError(
                "Trying to backward through a sparse network a second time: "
                "its activations have been freed."
            )
        program, names, given, versions = ctx.facts
        for name, parameter, version in zip(names, given, versions, strict=True):
            # A bias is in no gradient, so PyTorch lets it change too.
            if parameter._version != version and not name.endswith(".bias"):
                raise RuntimeError(
                    f"'{name}', needed for the gradients, was changed by an in-place operation "
                    "after the forward pass."
                )
        ctx.tape = ctx.facts = None
        images_grad, found = program.backward(tape, grads, ctx.needs_input_grad[0])
        return images_grad, None, None, None, *(found.get(name) for name in names)
