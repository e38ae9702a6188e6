"""A network whose activations are stored in bf16 between convolutions; sums are float32.

Pairs of channels share a lane of 32 bits (:mod:`generated.pair_convolution`), so a value has half
as many vectors, and whatever moves whole lanes (borders, gathering) is that of float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from sparsebench.exporters.kernels.compiled.library import RELU, RELU6, Library
from sparsebench.exporters.kernels.compiled.steps import MaxPoolStep, NormStep, Step
from sparsebench.exporters.kernels.generated.memory import no_pairs_of_channels
from sparsebench.exporters.kernels.generated.pair_convolution import (
    PAIR,
    PairConvolution,
    Stored,
)
from sparsebench.exporters.kernels.inference.folded_calls import GENERATED
from sparsebench.exporters.kernels.inference.folding import Folded
from sparsebench.exporters.kernels.inference.generated_calls import GeneratedCalls, planes_of
from sparsebench.exporters.kernels.inference.generated_network import GeneratedNetwork, why_not
from sparsebench.exporters.kernels.inference.grouping import Grouped
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork, read_onnx
from sparsebench.exporters.kernels.inference.sizes import Size, size_after
from sparsebench.exporters.kernels.inference.thinning import thin_inputs


@dataclass
class PairNetwork(OnnxNetwork):
    """As :class:`OnnxNetwork`, whose sizes are in vectors of a place.

    Attributes:
        pairs: values that are stored as pairs of bf16; all others are float32.
    """

    pairs: frozenset[int] = frozenset()

    @staticmethod
    def of(network: OnnxNetwork) -> PairNetwork:
        """The network with the values in bf16 that only convolutions read."""
        network = thin_inputs(network)
        whole = {field.name: getattr(network, field.name) for field in fields(OnnxNetwork)}
        return PairNetwork(**whole, pairs=_pairs(network))

    def size_after(self, step: Step, sizes: Mapping[int, Size]) -> Size:
        """(vectors, height, width)."""
        wide = {
            value: (size[0] * PAIR, *size[1:]) if value in self.pairs else size
            for value, size in sizes.items()
        }
        channels, *plane = size_after(step, wide, self.layers)
        return (channels // PAIR if step.out in self.pairs else channels, plane[0], plane[1])

    def stored(self, step: NormStep) -> Stored:
        """What a convolution reads and writes."""
        residual = "" if step.residual is None else "floats"
        if step.residual in self.pairs:
            residual = "pairs"
        return Stored(step.inp in self.pairs, step.out in self.pairs, residual)

    def layers_in_pairs(self) -> int:
        """Convolutions that read or write bf16."""
        found = [self.stored(step) for step in self.steps if isinstance(step, NormStep)]
        return sum(one.any for one in found)


def read_pairs(path: str, input_shape: tuple[int, int, int]) -> PairNetwork:
    """Read a convolutional network as :func:`read_onnx` does, to be stored in bf16."""
    return PairNetwork.of(read_onnx(path, input_shape))


def _pairs(network: OnnxNetwork) -> frozenset[int]:
    """Values of even channels that are not negative and that only convolutions read.

    A copy of some of a value's pixels is stored as that value is.
    """
    found = set()
    for step in network.steps:
        if isinstance(step, NormStep):
            even = network.layers[step.layer][2].out_channels % PAIR == 0
            if even and step.act in (RELU, RELU6):
                found.add(step.out)
        elif _copies(step):
            found.add(step.out)
    refused: set[int | None] = {network.output}
    while True:
        for step in network.steps:
            if _copies(step) and not {step.inp, step.out} <= found:
                refused |= {step.inp, step.out}
            elif not (_copies(step) or isinstance(step, NormStep)):
                refused |= {step.inp, step.residual}
        if not found & refused:
            return frozenset(found)
        found -= refused


def _copies(step: Step) -> bool:
    return isinstance(step, MaxPoolStep) and (step.kernel, step.padding) == (1, 0)


class PairCalls(GeneratedCalls):
    """As :class:`GeneratedCalls`, for values that are partly stored as pairs of bf16."""

    _network: PairNetwork

    def _convolve(self, step: NormStep, inp: Folded, out: Folded, x: int, residual: int) -> None:
        stored = self._network.stored(step)
        if not stored.any:
            super()._convolve(step, inp, out, x, residual)
            return
        weight, bias, geometry = self._network.layers[step.layer]
        layer = PairConvolution(
            weight, bias, geometry, planes_of(inp), planes_of(out), step.act, stored
        )
        self.convolutions.append(layer)
        self.multiply_adds[step.layer] = layer.multiply_adds
        y = self._new(step.out, out)
        self._add(step.layer, "NormStep", GENERATED, layer.c, x, y, residual)


class GeneratedPairs(GeneratedNetwork):
    """As :class:`GeneratedNetwork`, of a network that is stored in bf16.

    Raises:
        SparsebenchError: a layer or the whole is too large, or the system does not run generated
            code; see :func:`why_no_pairs`.
    """

    def _calls_of(self, part: Grouped, threads: int) -> GeneratedCalls:
        assert isinstance(self.network, PairNetwork)
        return PairCalls(self.network, self._grouping, part, self.kernels, threads)


def why_no_pairs(network: PairNetwork, kernels: Library) -> str:
    """Why a network cannot be stored in bf16 here, or nothing."""
    if not network.pairs:
        return "The network has no values that could be stored in bf16."
    return no_pairs_of_channels(kernels.isa, kernels.dtype) or why_not(network, kernels)
