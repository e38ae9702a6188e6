"""A masked network made sparse in one call: its parameters are only the non-zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from sparsebench.exporters.kernels.compiled.library import Library, library
from sparsebench.exporters.kernels.compiled.pages import give_back
from sparsebench.exporters.kernels.compiled.steps import ConvStep
from sparsebench.exporters.kernels.generated.memory import no_pairs
from sparsebench.exporters.kernels.training.admission import admitted_copy, check_images
from sparsebench.exporters.kernels.training.buffers import Buffers
from sparsebench.exporters.kernels.training.differentiate import Run
from sparsebench.exporters.kernels.training.layers import SparseConv2d, SparseLinear
from sparsebench.exporters.kernels.training.program import Program
from sparsebench.exporters.kernels.training.replacing import (
    default_mask,
    dense_state_dict,
    place,
    replace_layers,
)
from sparsebench.exporters.kernels.training.tracing import trace
from sparsebench.models.errors import SparsebenchError

_Mode = tuple[bool, ...]


@dataclass
class _Traced:
    """What a network does in one mode: steps of the kernels, what follows, and parameters."""

    program: Program
    rest: fx.GraphModule
    names: list[str]


class SparseModule(nn.Module):
    """What :func:`sparsify_module` returns; call and train it like the network it came from.

    Its parameters keep their names and order below ``network.``, but for the weights of masked
    layers: ``conv1.weight`` becomes ``network.conv1.values``, one-dimensional. ``train()`` and
    ``eval()`` work as usual, also of single layers (``sparse.network.bn1.eval()``). A state dict
    fits networks of the same mask only; :meth:`to_state_dict` gives the ordinary one. One
    backward pass follows one forward pass (no ``retain_graph``), and hooks of the layers inside
    of ``network`` are not called.

    Attributes:
        network: the layers, with sparse ones in the places of masked ones.
        choices: of sparse or dense execution, if they were measured; one record a layer.
        precision: ``fp32`` or ``bf16``, see :func:`sparsify_module`.
    """

    def __init__(
        self,
        network: nn.Module,
        kernels: Library,
        threads: int,
        order: list[str],
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self.choices: list[Any] = []
        self.precision = precision
        self._order = order
        self._threads = threads
        self._start(kernels)

    def _start(self, kernels: Library) -> None:
        self._kernels = kernels
        self._dtype: torch.dtype = getattr(torch, kernels.dtype)
        self._memory = Buffers(self._dtype)
        self._traced: dict[_Mode, _Traced] = {}

    @property
    def program(self) -> Program:
        """The steps that the kernels execute in the present mode; none where only linear
        layers are sparse."""
        return self._of_mode().program

    def _of_mode(self) -> _Traced:
        # What a forward does may depend on `self.training` anywhere: dropout as a function.
        mode = tuple(layer.training for layer in self.network.modules())
        if mode not in self._traced:
            self._traced[mode] = self._trace()
        return self._traced[mode]

    def _trace(self) -> _Traced:
        found = trace(self.network)
        layers = {
            step.layer: self.network.get_submodule(step.layer)
            for step in found.steps
            if hasattr(step, "layer")
        }
        names = [f"{n}.{p}" for n, layer in layers.items() for p, _ in layer.named_parameters()]
        program = Program(
            *(found.steps, found.outputs, layers, self._kernels, self._threads, self._memory),
            bf16=self.precision == "bf16",
        )
        return _Traced(program, found.rest, names)

    def forward(self, images: Tensor) -> Any:
        """``[N, C, H, W]`` on the CPU, of the parameters' data type, to what the network
        returned.

        Raises:
            SparsebenchError: images of another shape, type or device.
        """
        traced = self._of_mode()
        if not traced.program.steps:
            return traced.rest(images, images)
        check_images(images, self._dtype)
        parameters = [self.network.get_parameter(name) for name in traced.names]
        if any(p.dtype != self._dtype or p.device.type != "cpu" for p in parameters):
            raise SparsebenchError(
                f"The network's parameters were moved from {self._dtype} on the CPU.",
                "Convert the dense network first, then make it sparse.",
            )
        # Inside of a Function gradients are off, and `needs_input_grad` tells nothing of the mode.
        grads = torch.is_grad_enabled()
        with torch.autocast("cpu", enabled=False):
            features = Run.apply(images, traced.program, grads, traced.names, *parameters)
        return traced.rest(*features, images)

    def to_state_dict(self) -> dict[str, Tensor]:
        """The ordinary state dict of the network that this came from, bit by bit: names,
        shapes, order; zeros where nothing is kept. Tensors are copies."""
        return dense_state_dict(self.network, self._order)

    def convolutions(self) -> dict[str, SparseConv2d]:
        """Name -> layer of each convolution, in the order of execution."""
        found = {}
        program = self.program
        for step in program.steps:
            if isinstance(step, ConvStep):
                layer = program.layers[step.layer]
                assert isinstance(layer, SparseConv2d)
                found[step.layer] = layer
        return found

    def linears(self) -> dict[str, SparseLinear]:
        """Name -> layer of each masked linear layer."""
        named = self.network.named_modules()
        return {name: layer for name, layer in named if isinstance(layer, SparseLinear)}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and files: what was traced and compiled is made anew."""
        state = dict(self.__dict__)
        for name in ("_dtype", "_memory", "_traced"):
            del state[name]
        state["_kernels"] = (self._kernels.dtype, self._kernels.isa)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._start(library(*state["_kernels"]))


def sparsify_module(
    module: nn.Module,
    mask: Mapping[str, Tensor] | None = None,
    example_input: Tensor | None = None,
    *,
    threads: int | None = None,
    isa: str | None = None,
    precision: str = "fp32",
) -> SparseModule:
    """A network that computes with the kept weights only.

    Args:
        module: a convolutional classifier or feature extractor on the CPU, float32 (or
            float64, for checking); it is left as it is. Masks of ``torch.nn.utils.prune`` are
            applied for good.
        mask: parameter name -> bool tensor, True = kept. By default the non-zeros of every
            convolution and of linear layers that have zeros; layers that it leaves out keep
            all their weights.
        example_input: ``[N, C, H, W]``, a batch as in training; if given, everything is
            compiled for it now, and each layer is executed dense where that is measured to be
            faster (:attr:`SparseModule.choices`). Without it every layer is executed sparse.
        threads: to compute with; PyTorch's number by default.
        isa: instruction set; the machine's best by default.
        precision: ``fp32``, or ``bf16``: what a backward pass needs of a batch norm's inputs and
            outputs is kept in bf16, the gradients of convolutions' non-zeros multiply it where the
            processor is faster so (by its matrix unit, or in pairs by generated code), and layers
            that are executed dense compute in it. The forward pass, sums, weights and updates stay
            float32.

    Returns:
        A module in the training mode of `module`.

    Raises:
        SparsebenchError: no compiler, an operation that is not supported in front of a
            masked layer, weights outside of the mask that are not zero, or a network whose
            hooks, parametrizations or shared weights would have no effect; bf16 on a processor
            without instructions for it.
    """
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    if dtype not in (torch.float32, torch.float64):
        raise SparsebenchError(f"The kernels compute in float32, not in {dtype}.", "Use .float().")
    kernels = library(str(dtype).removeprefix("torch."), isa)
    if precision not in ("fp32", "bf16"):
        raise SparsebenchError(f"There is no precision '{precision}'.", "Give fp32 or bf16.")
    if precision == "bf16" and (why := no_pairs(kernels.isa, kernels.dtype)):
        raise SparsebenchError(f"The kernels cannot train in bf16: {why}", "Take fp32.")
    network = admitted_copy(module)
    order = list(network.state_dict())
    trains = {n: p.requires_grad for n, p in network.named_parameters()}
    threads = threads or torch.get_num_threads()
    mask = default_mask(network) if mask is None else mask
    replaced = replace_layers(network, mask, kernels, threads)
    _put_back(network, replaced)
    del replaced  # the dense weights of the copy
    sparse = SparseModule(network, kernels, threads, order, precision)
    for name, parameter in network.named_parameters():
        if name.removesuffix("values") + "weight" in trains and name not in trains:
            name = name.removesuffix("values") + "weight"
        parameter.requires_grad_(trains[name])
    _trace_both_modes(sparse)
    if example_input is not None:
        _warm_up(sparse, example_input.to(dtype))
    give_back()
    return sparse


def _put_back(network: nn.Module, replaced: dict[str, nn.Module]) -> None:
    """Convolutions that the kernels cannot reach become PyTorch's again.

    Raises:
        SparsebenchError: one of them is masked, or nothing at all is left.
    """
    found = trace(network)
    reached = {getattr(step, "layer", None) for step in found.steps}
    for name, layer in replaced.items():
        sparse = network.get_submodule(name)
        if not isinstance(sparse, SparseConv2d) or name in reached:
            continue
        if any(network.get_submodule(str(other)) is sparse for other in reached if other):
            continue  # the same layer under another name
        used = any(node.target == name for node in found.rest.graph.nodes)
        if used and not bool(sparse.kept.all()):
            raise SparsebenchError(
                f"The kernels cannot reach the masked layer '{name}': they do not know "
                f"{found.stopped_at} in front of it.",
                "They know convolutions, batch norm, ReLU, ReLU6, additions, max and mean pooling.",
            )
        if used:
            place(network, name, layer)
    linear = any(isinstance(layer, SparseLinear) for layer in network.modules())
    if not linear and not any(isinstance(step, ConvStep) for step in found.steps):
        raise SparsebenchError(
            "The network has nothing that the kernels could make sparse.",
            "They make Conv2d layers sparse, and Linear layers that have a mask.",
        )


def _trace_both_modes(sparse: SparseModule) -> None:
    """What cannot be traced is refused now, and not after a first epoch."""
    modes = {layer: layer.training for layer in sparse.network.modules()}
    for training in (not sparse.training, sparse.training):
        for layer in modes:
            layer.training = training
        sparse._of_mode()
    for layer, training in modes.items():
        layer.training = training


def _warm_up(sparse: SparseModule, images: Tensor) -> None:
    """Compile all plans and choose the executions; statistics, gradients and random numbers
    stay as they were."""
    from sparsebench.exporters.kernels.training.choice import choose_executions

    before = {n: b.clone() for n, b in sparse.named_buffers()}
    sparse.choices = list(choose_executions(sparse, images))
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        outputs = [t for t in tree_leaves(sparse(images)) if isinstance(t, Tensor)]
        wanted = [t.sum() for t in outputs if t.requires_grad]
        if wanted:
            torch.autograd.backward(wanted)
    with torch.no_grad():
        for name, buffer in sparse.named_buffers():
            buffer.copy_(before[name])
    sparse.zero_grad(set_to_none=True)
