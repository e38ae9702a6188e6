"""A batch of any size: blocks of images in one layout, the few that are left in the other.

In INT8 each thread takes an equal part of the batch where that fills its registers: layers are so
short there that threads that share them wait for each other for a tenth of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.compiled.steps import NormStep
from sparsebench.exporters.kernels.generated.memory import no_code
from sparsebench.exporters.kernels.generated.peak import peak_seconds
from sparsebench.exporters.kernels.inference.byte_network import GeneratedBytes, why_no_bytes
from sparsebench.exporters.kernels.inference.byte_values import ByteNetwork
from sparsebench.exporters.kernels.inference.folded_network import FoldedNetwork
from sparsebench.exporters.kernels.inference.generated_network import (
    GeneratedNetwork,
    why_not,
    why_pixels,
)
from sparsebench.exporters.kernels.inference.images import checked_images
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.pair_network import (
    GeneratedPairs,
    PairNetwork,
    why_no_pairs,
)
from sparsebench.exporters.kernels.inference.pixel_network import PixelNetwork
from sparsebench.models.errors import SparsebenchError

Tell = Callable[[str, str, float], object]
Array = NDArray[np.float32]


class _Compiled(Protocol):
    multiply_adds: Counter[str]

    def run(self, images: Array, tell: Tell | None = None) -> Array: ...


class SplitNetwork:
    """A network compiled for one batch size.

    Attributes:
        parts: (images, layout) of each part, in order; ``blocks`` or ``pixels``.
        paths: which code runs each part: ``generated``, ``compiled`` or ``pixels``.
        layers: names of the convolutions.
        why_not: why no code is generated for some part, or nothing.
        code_bytes: of generated code.
        multiply_adds: of vectors, of one call, by layer and path.
        fours_share: of a network in INT8, fours of weights that are multiplied, 0-1; else None.
        bf16_layers: of a network in bf16, convolutions that read or write it; else None.

    Raises:
        SparsebenchError: a network in INT8 or bf16 for which no code can be generated here; there
            are no other kernels for it.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: Library,
        threads: int,
        generated: bool = True,
    ) -> None:
        self.kernels, self.threads = kernels, threads
        self._shape, self._dtype = (batch_size, *input_shape), np.dtype(kernels.dtype)
        self.parts = split_batch(batch_size, kernels.lanes)
        self.layers = tuple(network.layers)
        self.why_not = why_not(network, kernels) if generated else "It was not asked for."
        self.fours_share: float | None = None
        self.bf16_layers: int | None = None
        in_bytes = isinstance(network, ByteNetwork)
        only: type[GeneratedNetwork] | None = None  # no other code runs its precision
        if isinstance(network, ByteNetwork):
            only, self.fours_share = GeneratedBytes, network.fours_share()
            self.why_not = why_no_bytes(network, kernels) if generated else self.why_not
        elif isinstance(network, PairNetwork):
            only, self.bf16_layers = GeneratedPairs, network.layers_in_pairs()
            self.why_not = why_no_pairs(network, kernels) if generated else self.why_not
        if only and self.why_not:
            raise SparsebenchError(self.why_not, "Run it in fp32.")
        self.code_bytes = 0
        self._streams: ThreadPoolExecutor | None = None
        if in_bytes and threads > 1 and batch_size % (threads * kernels.lanes) == 0:
            self._streams = ThreadPoolExecutor(threads, "native")
            self.parts = [(batch_size // threads, "blocks")] * threads
            threads = 1
        made: list[_Compiled] = []
        compiled: dict[tuple[int, str], _Compiled] = {}
        for count, layout in self.parts:
            what = (network, count, input_shape, kernels, threads)
            if self._streams:  # each has memory of its own
                compiled = {}
            if layout == "pixels" and not self.why_not and not only:
                self.why_not = why_pixels(network, count, input_shape, kernels)
            if (count, layout) not in compiled and not self.why_not:
                try:
                    one = (only or GeneratedNetwork)(*what)
                except SparsebenchError as error:
                    if only:
                        raise
                    self.why_not = error.cause
                else:
                    self.code_bytes += one.code_bytes
                    compiled[count, layout] = one
            if (count, layout) not in compiled:
                kind = PixelNetwork if layout == "pixels" else FoldedNetwork
                compiled[count, layout] = kind(*what)
            made.append(compiled[count, layout])
        named: dict[type, str] = {FoldedNetwork: "compiled", PixelNetwork: "pixels"}
        named |= dict.fromkeys((GeneratedNetwork, GeneratedBytes, GeneratedPairs), "generated")
        self.paths = [named[type(part)] for part in made]
        self._compiled = [
            (count, part, path)
            for (count, _), part, path in zip(self.parts, made, self.paths, strict=True)
        ]
        if not self.why_not:
            self.parts = [(count, "blocks") for count, _ in self.parts]
        self.multiply_adds: Counter[tuple[str, str]] = Counter()
        for _, part, path in self._compiled:
            self.multiply_adds.update({(n, path): m for n, m in part.multiply_adds.items()})

    def run(self, images: Array, tell: Tell | None = None) -> Array:
        """``[N, 3, H, W]`` to ``[N, D]``, N as compiled.

        Args:
            images: float32.
            tell: is given the layer's name (or nothing), its path, or the step's kind where there
                is no layer, and the seconds of each step. Parts of threads of their own then run
                one after the other; a thread's share of their seconds is told.

        Raises:
            SparsebenchError: the images are not those that it is compiled for.
        """
        images = checked_images(images, self._shape, self._dtype)
        if self._streams and tell is None:
            pieces = np.split(images, len(self._compiled))
            runs = [part.run for _, part, _ in self._compiled]
            return np.concatenate(list(self._streams.map(lambda run, x: run(x), runs, pieces)))
        found, first = [], 0
        for count, part, path in self._compiled:
            named: Tell | None = None
            if tell:
                named = partial(_named, tell, path, self.threads if self._streams else 1)
            found.append(part.run(images[first : first + count], named))
            first += count
        return found[0] if len(found) == 1 else np.concatenate(found)

    def peak_seconds(self) -> float | None:
        """Of a vector multiply-add on all threads at best; None where no code can be generated."""
        refused = no_code(self.kernels.isa, self.kernels.dtype)
        if refused:
            return None
        return peak_seconds(of_bytes=self.fours_share is not None) / self.threads


def _named(tell: Tell, path: str, share: int, name: str, kind: str, seconds: float) -> None:
    tell(name, path if name and kind == NormStep.__name__ else kind, seconds / share)


def split_batch(batch_size: int, lanes: int) -> list[tuple[int, str]]:
    """(images, layout) of each part.

    A register holds `lanes` images of a block, so a block of half as many or fewer wastes more
    than the gaps between rows and the unaligned reads of lines of pixels cost. Generated code has
    no lines of pixels: the few that are left get code of their own, with folds that suit them.
    """
    left = batch_size % lanes
    if left == 0 or left > lanes // 2:
        return [(batch_size, "blocks")]
    whole = [(batch_size - left, "blocks")] if batch_size > left else []
    return [*whole, (left, "pixels")]
