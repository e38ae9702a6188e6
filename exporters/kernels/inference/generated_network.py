"""A network whose convolutions are code generated for their patterns of non-zeros."""

from __future__ import annotations

import numpy as np

from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.generated.convolution import LANES
from sparsebench.exporters.kernels.generated.memory import LIMIT, CodeMemory, no_code
from sparsebench.exporters.kernels.inference.folded_calls import PartCalls
from sparsebench.exporters.kernels.inference.folded_network import FoldedNetwork
from sparsebench.exporters.kernels.inference.generated_calls import GeneratedCalls
from sparsebench.exporters.kernels.inference.grouping import Grouped, Grouping
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.thinning import thin_inputs

LEAST = 7  # bytes of code for each non-zero
# Work as a multiple of what the images need, beyond which lines of pixels are faster; measured.
_MOST_WASTE = 2.0


class GeneratedNetwork(FoldedNetwork):
    """As :class:`FoldedNetwork`. Each thread takes a group of its own where there are enough.

    Attributes:
        code_bytes: of the generated code.

    Raises:
        SparsebenchError: a layer or the whole is too large, or the system does not run generated
            code; see :func:`why_not`.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: Library,
        threads: int,
    ) -> None:
        self._calls: list[GeneratedCalls] = []
        super().__init__(network, batch_size, input_shape, kernels, threads)
        layers = [layer for part in self._calls for layer in part.convolutions]
        self._code = CodeMemory([code for layer in layers for code in layer.functions])
        addresses = iter(self._code.addresses)
        for layer in layers:
            layer.place(tuple(next(addresses) for _ in layer.functions))
            layer.functions = []
        self.code_bytes = self._code.size

    def _group(self, network: OnnxNetwork, input_shape: tuple[int, int, int]) -> Grouping:
        return Grouping(network, self._batch, input_shape, LANES, self._item, pixel_major=True)

    def _shared_images(self) -> int:
        group = self._grouping.parts[-1].group
        return group * max(1, min(self.threads, -(-self._batch // group)))

    def _calls_of(self, part: Grouped, threads: int) -> GeneratedCalls:
        return GeneratedCalls(self.network, self._grouping, part, self.kernels, threads)

    def _compile(self, part: Grouped, threads: int) -> PartCalls:
        calls = self._calls_of(part, threads)
        self._calls.append(calls)
        return calls


def why_pixels(
    network: OnnxNetwork, batch_size: int, input_shape: tuple[int, int, int], kernels: Library
) -> str:
    """Why few images are faster in lines of pixels, or nothing: their planes have no equal pieces
    and would be padded by too much."""
    item = np.dtype(kernels.dtype).itemsize
    grouping = Grouping(
        thin_inputs(network), batch_size, input_shape, LANES, item, pixel_major=True
    )
    if grouping.waste <= _MOST_WASTE:
        return ""
    size = "x".join(map(str, input_shape[1:]))
    return (
        f"Planes of {size} pixels have no equal pieces for {batch_size} images: generated code "
        f"would do {grouping.waste:.1f} times their work."
    )


def why_not(network: OnnxNetwork, kernels: Library) -> str:
    """Why code is not generated for a network here, or nothing."""
    non_zeros = sum(int((weight != 0).sum()) for weight, _, _ in network.layers.values())
    refused = no_code(kernels.isa, kernels.dtype)
    if not refused and non_zeros * LEAST > LIMIT:
        return f"{non_zeros} non-zeros would take more than {LIMIT >> 20} MiB of code."
    return refused
