"""Sparse or dense, layer by layer: whichever is faster on this machine, as measured.

Both executions of a layer take turns, forward and backward, on the activations' real
shapes; the dense one pays for its conversions of the layout. The least time of several rounds
decides, because other programs only ever add to a time, and dense must win by a margin: near a
tie the sparse execution is kept, whose memory is smaller.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from sparsebench.exporters.kernels.compiled.pages import give_back
from sparsebench.exporters.kernels.compiled.steps import ConvStep, Step
from sparsebench.exporters.kernels.training.layers import SparseConv2d, SparseLinear
from sparsebench.exporters.kernels.training.module import SparseModule
from sparsebench.exporters.kernels.training.program import Program

MARGIN = 1.05


@dataclass(frozen=True)
class Choice:
    """The record of one decision.

    Attributes:
        layer: dotted name.
        execution: ``sparse`` or ``dense``.
        density: share of weights that are kept.
        sparse_seconds: forward and backward, each round.
        dense_seconds: as above.
        forward: which code the sparse forward pass is: ``generated`` for the pattern, or the
            ``compiled`` kernels that read it.
        why_not: why it is not generated, or nothing.
        backward: the same of the sparse backward pass; ``generated+compiled`` where one gives the
            gradient of the input and the other that of the weights, which ``matrix`` gives on a
            processor's matrix unit; ``(bf16)`` behind it where this was in bf16.
    """

    layer: str
    execution: str
    density: float
    sparse_seconds: tuple[float, ...]
    dense_seconds: tuple[float, ...]
    forward: str = "compiled"
    why_not: str = ""
    backward: str = "compiled"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of the fields."""
        return asdict(self)


def choose_executions(module: SparseModule, images: Tensor, *, rounds: int = 5) -> list[Choice]:
    """Set the execution of each convolution and masked linear layer to the faster one.

    Args:
        module: changed in place; its statistics and gradients are left as they were.
        images: ``[N, 3, H, W]``, a batch of the size that will be trained with.
        rounds: of both executions in turns, after one that does not count.

    Returns:
        One record for each convolution, in the order of execution, then for each masked
        linear layer, which is measured on one row an image.
    """
    layers: dict[str, SparseConv2d | SparseLinear] = {**module.convolutions()}
    linears = module.linears()
    layers |= linears
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    grads = [p.grad for p in module.parameters()]
    times: dict[str, dict[str, list[float]]] = {n: {"sparse": [], "dense": []} for n in layers}
    for turn in range(rounds + 1):
        for execution in ("sparse", "dense") if turn % 2 else ("dense", "sparse"):
            for layer in layers.values():
                layer.execution = execution
            spent = _one_pass(module, images) if module.program.steps else {}
            spent |= {name: _one_call(one, len(images)) for name, one in linears.items()}
            for name, seconds in spent.items():
                if turn:
                    times[name][execution].append(seconds)
    choices = []
    for name, layer in layers.items():
        sparse, dense = times[name]["sparse"], times[name]["dense"]
        faster = min(dense) * MARGIN < min(sparse)
        layer.execution = "dense" if faster else "sparse"
        density = layer.values.numel() / max(1, layer.kept.numel())
        why = layer.why_not()
        path, back = "compiled" if why else "generated", layer.backward_path()
        choices.append(
            Choice(name, layer.execution, density, tuple(sparse), tuple(dense), path, why, back)
        )
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
    for parameter, grad in zip(module.parameters(), grads, strict=True):
        parameter.grad = grad
    return choices


def _one_call(layer: SparseLinear, rows: int) -> float:
    """Seconds of a linear layer, forward and backward together."""
    inputs = torch.ones(rows, layer.kept.shape[1], dtype=layer.values.dtype, requires_grad=True)
    start = time.perf_counter()
    layer(inputs).sum().backward()
    return time.perf_counter() - start


def _one_pass(module: SparseModule, images: Tensor) -> dict[str, float]:
    """Seconds of each convolution, forward and backward together."""
    seconds: dict[str, float] = {}
    program = module.program

    def timed(run: Callable[..., None]) -> Callable[..., None]:
        def step(one: Step, *rest: Any) -> None:
            start = time.perf_counter()
            run(one, *rest)
            if isinstance(one, ConvStep):
                spent = time.perf_counter() - start
                seconds[one.layer] = seconds.get(one.layer, 0.0) + spent

        return step

    watched = Program(
        *(program.steps, program.outputs, program.layers, program.kernels, program.threads),
        buffers=program._buffers,
        bf16=program.bf16,
    )
    watched.forward_step = timed(program.forward_step)  # type: ignore[method-assign]
    watched.backward_step = timed(program.backward_step)  # type: ignore[method-assign]
    outputs, tape = watched.forward(images, keep=True)
    watched.backward(tape, [torch.ones_like(one) for one in outputs], False)
    give_back()  # dense executions take several times what a training will need
    return seconds
