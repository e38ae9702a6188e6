"""A network from an ONNX file run forward, a few images at a time through runs of layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.compiled.pages import aligned
from sparsebench.exporters.kernels.compiled.steps import IMAGES
from sparsebench.exporters.kernels.inference.folded_calls import PartCalls
from sparsebench.exporters.kernels.inference.folding import Folded
from sparsebench.exporters.kernels.inference.grouping import Grouped, Grouping
from sparsebench.exporters.kernels.inference.images import checked_images
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.thinning import thin_inputs

_PAGE = 4096
Tell = Callable[[str, str, float], object]


@dataclass
class _Round:
    """One part over some images: as many groups as they fill.

    Attributes:
        part: its calls.
        groups: their number.
        tables: addresses ``[workers, groups, slots]``, uint64.
        images: (slot, group, first image) whose addresses come with every call.
    """

    part: PartCalls
    groups: int
    tables: NDArray[np.uint64]
    images: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


class FoldedNetwork:
    """All memory is taken and all calls are prepared once.

    The batch is taken in shares of the last part's group. Of each share every part runs all of
    its groups, a thread for each where there are enough of them.

    Args:
        network: what :func:`sparsebench.exporters.kernels.inference.onnx_reader.read_onnx` found.
        batch_size: N of every call.
        input_shape: ``(3, H, W)``.
        kernels: the compiled library, float32 or float64.
        threads: to share the work.

    Attributes:
        multiply_adds: of vectors in each convolution, of one call.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: Library,
        threads: int,
    ) -> None:
        network = thin_inputs(network)
        self.network, self.kernels, self.threads = network, kernels, threads
        self._dtype = np.dtype(kernels.dtype)
        self._batch, self._item = batch_size, self._dtype.itemsize
        self._shape = (batch_size, *input_shape)
        self._image = int(np.prod(input_shape)) * self._item
        self._grouping = self._group(network, input_shape)
        self._share = self._shared_images()
        width = network.width(self._grouping.sizes)
        self._features = np.zeros((batch_size, width), self._dtype)
        most = min(self._share, batch_size)
        parts = [
            self._compile(part, 1 if -(-most // part.group) >= threads else threads)
            for part in self._grouping.parts
        ]
        own, made = self._take(max(part.bytes for part in parts), most)
        self._rounds = [
            self._round(part, group.group, own, made, first)
            for first in range(0, batch_size, self._share)
            for part, group in zip(parts, self._grouping.parts, strict=True)
        ]
        self.multiply_adds: Counter[str] = Counter()
        for one in self._rounds:
            for layer, count in one.part.multiply_adds.items():
                self.multiply_adds[layer] += count * one.groups

    def _group(self, network: OnnxNetwork, input_shape: tuple[int, int, int]) -> Grouping:
        lanes = self.kernels.lanes
        return Grouping(network, self._batch, input_shape, lanes, self._item)

    def _shared_images(self) -> int:
        """DecodedImages that all parts take before the next ones come."""
        return self._grouping.parts[-1].group

    def _compile(self, part: Grouped, threads: int) -> PartCalls:
        return PartCalls(self.network, self._grouping, part, self.kernels, threads)

    def run(self, images: NDArray[np.float32], tell: Tell | None = None) -> NDArray[np.float32]:
        """``[N, 3, H, W]`` to ``[N, D]``, N as compiled.

        Args:
            images: float32.
            tell: is given the layer's name (or nothing), the kind and the seconds of each step.

        Raises:
            SparsebenchError: the images are not those that it is compiled for.
        """
        images = checked_images(images, self._shape, self._dtype)
        for one in self._rounds:
            slots, groups, offsets = one.images
            one.tables[:, groups, slots] = np.uint64(images.ctypes.data) + offsets
            workers, _, count = one.tables.shape
            calls = one.part.calls
            seconds = np.zeros((workers, len(calls))) if tell else None
            self.kernels.run(
                calls,
                len(calls),
                one.tables.ctypes.data,
                one.groups,
                count,
                workers,
                self.threads,
                None if seconds is None else seconds.ctypes.data,
            )
            if tell and seconds is not None:
                for (name, kind), spent in zip(one.part.names, seconds.mean(0), strict=True):
                    tell(name, kind, float(spent))
        return self.network.classify(self._features)

    def _take(self, own: int, images: int) -> tuple[list[int], dict[int, list[int]]]:
        """Addresses of each thread's own memory, and of the values that other parts read than
        their own, one for each group. All of it is one piece, which is then of huge pages."""
        made: dict[int, tuple[Folded, int]] = {}
        largest = self._grouping.parts[-1].group
        for value, group in self._grouping.made_in.items():
            read = (
                part.group != group and value in (step.inp, step.residual)
                for part in self._grouping.parts
                for step in part.steps
            )
            if value != IMAGES and any(read):
                # Groups lie one after the other, as many as the last part's groups may read.
                count = -(-images // largest) * (largest // group)
                made[value] = self._grouping.shapes[value, group], count
        sizes = [own] * self.threads
        sizes += [shape.bytes * count for shape, count in made.values()]
        ends = np.cumsum([-(-size // _PAGE) * _PAGE for size in sizes])
        self._memory = aligned(int(ends[-1]))
        places = [self._memory.ctypes.data + int(first) for first in (0, *ends[:-1])]
        found = {
            value: [first + shape.lead * self._item + i * shape.bytes for i in range(count)]
            for first, (value, (shape, count)) in zip(
                places[self.threads :], made.items(), strict=True
            )
        }
        return places[: self.threads], found

    def _round(
        self,
        part: PartCalls,
        group: int,
        own: list[int],
        made: dict[int, list[int]],
        first: int,
    ) -> _Round:
        here = min(self._share, self._batch - first)
        groups = -(-here // group)
        workers = self.threads if groups >= self.threads else 1
        slots = part.slots
        tables = np.zeros((workers, groups, slots.count), np.uint64)
        for slot, offset in slots.memory.items():
            tables[:, :, slot] = (np.array(own[:workers], np.uint64) + np.uint64(offset))[:, None]
        for slot, value in slots.made.items():
            tables[:, :, slot] = made[value][:groups]
        images = []
        for slot, (value, which) in slots.given.items():
            before = self._grouping.made_in[value] or 1
            for g in range(groups):
                source = g * (group // before) + which
                if source * before >= here:
                    continue  # no images there
                if value == IMAGES:
                    images.append((slot, g, (first + source) * self._image))
                else:
                    tables[:, g, slot] = made[value][source]
        if slots.features is not None:
            for n in range(here):
                place = self._features[first + n].ctypes.data
                tables[:, n // group, slots.features + n % group] = place
        found = np.array(images, np.int64).reshape(-1, 3)
        places = (found[:, 0], found[:, 1], found[:, 2].astype(np.uint64))
        return _Round(part, groups, tables, places)
