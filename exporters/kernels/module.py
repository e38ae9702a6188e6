"""A masked network made sparse in one call: its parameters are only the non-zeros."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from exporters.kernels.layers import SparseConv2d, SparseLinear
from exporters.kernels.library import Library, library
from exporters.kernels.program import Program, Tape
from exporters.kernels.steps import ConvStep
from exporters.kernels.tracing import trace
from models.errors import SparsebenchError
from models.masks import mask_of


class SparseModule(nn.Module):
    """What :func:`sparsify_module` returns; call and train it like the network it came from.

    Its parameters keep their names, but for the weights of masked layers: ``conv1.weight``
    becomes ``conv1.values``, one-dimensional.
    """

    def __init__(
        self, network: nn.Module, kernels: Library, threads: int, order: list[str]
    ) -> None:
        super().__init__()
        self._order = order
        traced = trace(network)
        self.network = traced.rest  # holds the layers of the rest; those of the steps follow
        layers = {
            step.layer: network.get_submodule(step.layer)
            for step in traced.steps
            if hasattr(step, "layer")
        }
        self.program = Program(traced.steps, traced.output, layers, kernels, threads)
        self._names: list[str] = []
        for name, layer in layers.items():
            _place(self.network, name, layer)
            self._names += [f"{name}.{p}" for p, _ in layer.named_parameters()]
        left = [n for n, m in self.network.named_modules() if isinstance(m, SparseConv2d)]
        stray = [name for name in left if name not in layers]
        if stray:
            raise SparsebenchError(
                f"The kernels cannot reach the masked layer '{stray[0]}': an operation before "
                "it is unknown to them.",
                "They know convolutions, batch norm, ReLU, ReLU6, additions, max and mean pooling.",
            )

    def forward(self, images: Tensor) -> Tensor:
        """Float32 ``[N, C, H, W]`` on the CPU to what the network returned."""
        parameters = [self.network.get_parameter(name) for name in self._names]
        # Inside of a Function gradients are off, and `needs_input_grad` tells nothing of the mode.
        grads = torch.is_grad_enabled()
        with torch.autocast("cpu", enabled=False):
            features = _Run.apply(
                images, self.program, self.training, grads, self._names, *parameters
            )
        out: Tensor = self.network(features)
        return out

    def to_state_dict(self) -> dict[str, Tensor]:
        """The ordinary state dict of the network that this came from, bit by bit: names,
        shapes, order; zeros where nothing is kept. Tensors are copies."""
        return dense_state_dict(self.network, self._order)

    def convolutions(self) -> dict[str, SparseConv2d]:
        """Name -> layer of each convolution, in the order of execution."""
        found = {}
        for step in self.program.steps:
            if isinstance(step, ConvStep):
                layer = self.program.layers[step.layer]
                assert isinstance(layer, SparseConv2d)
                found[step.layer] = layer
        return found

    def linears(self) -> dict[str, SparseLinear]:
        """Name -> layer of each masked linear layer."""
        named = self.network.named_modules()
        return {name: layer for name, layer in named if isinstance(layer, SparseLinear)}

    def __deepcopy__(self, memo: dict[int, Any]) -> SparseModule:
        """A module of its own parameters, statistics and memory."""
        network = copy.deepcopy(self.network, memo)
        old = self.program
        layers = {name: network.get_submodule(name) for name in old.layers}
        copied = SparseModule.__new__(SparseModule)
        nn.Module.__init__(copied)
        copied.network = network
        copied.program = Program(old.steps, old.output, layers, old.kernels, old.threads)
        copied._names, copied._order = list(self._names), list(self._order)
        return copied.train(self.training)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        program: Program,
        training: bool,
        grads: bool,
        names: list[str],
        *parameters: Tensor,
    ) -> Tensor:
        keep = grads and any(ctx.needs_input_grad)
        output, tape = program.forward(images, training=training, keep=keep)
        ctx.facts = (program, training, names) if keep else None
        ctx.tape = tape if keep else None
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        tape: Tape | None = ctx.tape
        if tape is None:
            raise RuntimeError(
                "Trying to backward through a sparse network a second time: "
                "its activations have been freed."
            )
        ctx.tape = None
        program, training, names = ctx.facts
        images_grad, found = program.backward(tape, grads[0], training, ctx.needs_input_grad[0])
        return images_grad, None, None, None, None, *(found.get(name) for name in names)


def sparsify_module(
    module: nn.Module,
    mask: Mapping[str, Tensor] | None = None,
    example_input: Tensor | None = None,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> SparseModule:
    """A network that computes with the kept weights only.

    Args:
        module: a convolutional classifier or feature extractor on the CPU, float32 (or
            float64, for checking); it is left as it is.
        mask: parameter name -> bool tensor, True = kept. The non-zeros of every
            convolution by default; layers that it leaves out keep all their weights.
        example_input: ``[N, C, H, W]``; if given, everything is compiled for it now.
        threads: to compute with; PyTorch's number by default.
        isa: instruction set; the machine's best by default.

    Returns:
        A module in the training mode of `module`.

    Raises:
        SparsebenchError: no compiler, an operation that is not supported in front of a
            masked layer, or weights outside of the mask that are not zero.
    """
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    if dtype not in (torch.float32, torch.float64):
        raise SparsebenchError(f"The kernels compute in float32, not in {dtype}.", "Use .float().")
    kernels = library(str(dtype).removeprefix("torch."), isa)
    network = copy.deepcopy(module)
    order = list(network.state_dict())
    if mask is None:
        mask = {n: kept for n, kept in mask_of(network).items() if kept.ndim == 4}
    threads = threads or torch.get_num_threads()
    _replace_layers(network, mask, kernels, threads)
    sparse = SparseModule(network, kernels, threads, order)
    sparse.train(module.training)
    for name, parameter in module.named_parameters():
        target = name.removesuffix("weight") + "values"
        known = dict(sparse.network.named_parameters())
        known[name if name in known else target].requires_grad_(parameter.requires_grad)
    if example_input is not None:
        _warm_up(sparse, example_input.to(dtype))
    return sparse


def _replace_layers(
    network: nn.Module, mask: Mapping[str, Tensor], kernels: Library, threads: int
) -> None:
    layers = dict(network.named_modules())
    for name in mask:
        if not isinstance(layers.get(name.removesuffix(".weight")), nn.Conv2d | nn.Linear):
            raise SparsebenchError(
                f"The mask covers '{name}', which is no weight of a Conv2d or Linear layer.",
                "Use a mask of the same architecture.",
            )
    for name, layer in layers.items():
        kept = mask.get(f"{name}.weight")
        if isinstance(layer, nn.Conv2d | nn.Linear) and kept is not None:
            kept = kept.cpu().bool()
            if kept.shape != layer.weight.shape:
                raise SparsebenchError(
                    f"The mask of '{name}' has shape {tuple(kept.shape)}, the weight "
                    f"{tuple(layer.weight.shape)}.",
                    "Use a mask of the same architecture and class count.",
                )
            if getattr(layer, "padding_mode", "zeros") != "zeros":
                raise SparsebenchError(
                    f"'{name}' pads with {layer.padding_mode}; the kernels pad with zeros.",
                    "Leave this layer out of the mask.",
                )
            if bool((layer.weight.detach()[~kept] != 0).any()):
                raise SparsebenchError(
                    f"'{name}' has weights that its mask does not keep.",
                    "Apply the mask first (models.masks.apply_mask).",
                )
        if isinstance(layer, nn.Conv2d) and (kept is not None or layer.padding_mode == "zeros"):
            everything = torch.ones(layer.weight.shape, dtype=torch.bool)
            _place(network, name, SparseConv2d(layer, everything if kept is None else kept))
        elif isinstance(layer, nn.Linear) and kept is not None and not bool(kept.all()):
            _place(network, name, SparseLinear(layer, kept, kernels, threads))


def dense_state_dict(network: nn.Module, order: list[str]) -> dict[str, Tensor]:
    """Ordinary tensors under ordinary names, in the given order."""
    found: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, SparseConv2d | SparseLinear):
            found[f"{name}.weight" if name else "weight"] = layer.dense_weight().detach()
    for name, value in network.state_dict().items():
        if not name.endswith(".values"):
            found[name] = value.detach().clone()
    return OrderedDict((name, found[name]) for name in order)


def _place(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer at a dotted name, making empty modules on the way."""
    parent_name, _, child = name.rpartition(".")
    parent = network
    for part in parent_name.split(".") if parent_name else ():
        if not hasattr(parent, part):
            parent.add_module(part, nn.Module())
        parent = getattr(parent, part)
    setattr(parent, child, layer)


def _warm_up(sparse: SparseModule, images: Tensor) -> None:
    """Compile all plans; batch norm's statistics stay as they are."""
    before = {n: b.clone() for n, b in sparse.named_buffers()}
    with torch.enable_grad():
        sparse(images).sum().backward()
    with torch.no_grad():
        for name, buffer in sparse.named_buffers():
            buffer.copy_(before[name])
    sparse.zero_grad(set_to_none=True)
