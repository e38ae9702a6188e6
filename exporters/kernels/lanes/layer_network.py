"""What a network of lanes and one of lines have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.generated.convolution import CODE_BYTES, GeneratedPattern
from sparsebench.exporters.kernels.generated.memory import (
    LIMIT,
    CodeMemory,
    no_code,
    no_forward_code,
)
from sparsebench.exporters.kernels.generated.peak import peak_seconds
from sparsebench.exporters.kernels.inference.images import checked_images
from sparsebench.exporters.kernels.lanes.library import LaneLibrary
from sparsebench.exporters.kernels.lanes.programs import recognise_gelu, recognise_silu
from sparsebench.exporters.kernels.lanes.reader import LaneGraph
from sparsebench.exporters.kernels.lanes.steps import Instruction, RowStep

Array = NDArray[np.float32]
Tell = Callable[[str, str, float], object]


class LayerNetwork(ABC):
    """A network compiled for one batch size.

    Args:
        graph: what is executed; each GELU and SiLU in it becomes one instruction.
        batch_size: N of every call.
        input_shape: ``(3, H, W)``.
        kernels: the compiled library.
        threads: that share each step.

    Attributes:
        parts: (images, layout) of each group; the last group's empty lanes hold zeros.
        paths: which code runs the layers: ``generated`` or ``compiled``.
        layers: names of the convolutions and linear layers.
        why_not: why no code is generated, or nothing.
        code_bytes: of generated code.
        multiply_adds: of vectors, of one call, by layer and path.
    """

    parts: list[tuple[int, str]]
    paths: list[str]
    why_not: str

    def __init__(
        self,
        graph: LaneGraph,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: LaneLibrary,
        threads: int,
    ) -> None:
        self.kernels, self.threads = kernels, threads
        self._shape, self._graph = (batch_size, *input_shape), graph
        self.layers = tuple(layer.name for layer in graph.layers)
        self.multiply_adds: Counter[tuple[str, str]] = Counter()
        self.code_bytes = 0
        self._kept: list[object] = []  # whose addresses the steps hold
        for step in graph.steps:
            if isinstance(step, RowStep):
                recognise_gelu(step, _readers_of(graph))
                recognise_silu(step, _readers_of(graph))
        self._readers = _readers_of(graph)

    def run(self, images: Array, tell: Tell | None = None) -> Array:
        """``[N, 3, H, W]`` to ``[N, D]``, N as compiled.

        Args:
            images: float32.
            tell: is given the layer's name (or nothing), its path or the step's kind, and the
                seconds of each step.

        Raises:
            SparsebenchError: the images are not those that it is compiled for.
        """
        images = checked_images(images, self._shape, np.dtype(np.float32))
        found = np.empty((len(images), self._graph.output.shape[1]), np.float32)
        self._run(images, found, tell)
        return found

    def peak_seconds(self) -> float | None:
        """Of a vector multiply-add on all threads at best; None where no code can be generated."""
        return None if no_code(self.kernels.isa, "float32") else peak_seconds() / self.threads

    @abstractmethod
    def _run(self, images: Array, found: Array, tell: Tell | None) -> None:
        """Write ``[N, D]`` of ``[N, 3, H, W]``."""

    def _place(self, layers: Sequence[GeneratedPattern]) -> None:
        """Put the layers' code where it can be run."""
        self._code = CodeMemory([code for layer in layers for code in layer.functions])
        places = iter(self._code.addresses)
        for layer in layers:
            layer.place(tuple(next(places) for _ in layer.functions))
            layer.functions = []
        self.code_bytes = self._code.size


def why_no_code(graph: LaneGraph, kernels: LaneLibrary) -> str:
    """Why code is not generated for a network here, or nothing."""
    refused = no_forward_code(kernels.isa, "float32")
    count = sum(int((layer.weight != 0).sum()) for layer in graph.layers)
    if not refused and count * CODE_BYTES[kernels.lanes] > LIMIT:
        return f"{count} non-zeros would take more than {LIMIT >> 20} MiB of code."
    return refused


def _readers_of(graph: LaneGraph) -> Counter[int]:
    """Buffer -> how many operands read it; the network's output counts."""
    found = Counter(view.buffer for step in graph.steps for view in step.reads)
    for step in graph.steps:
        if isinstance(step, RowStep):
            for instruction in step.instructions:
                inner = (a for a in instruction.arguments if isinstance(a, Instruction))
                found.update(a.out.buffer for a in inner)
    found[graph.output.buffer] += 1
    return found
