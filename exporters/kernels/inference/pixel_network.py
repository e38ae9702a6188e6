"""A network from an ONNX file run forward on a few images: pixels side by side in registers."""

from __future__ import annotations

import ctypes
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import CForward, CShape, Library
from sparsebench.exporters.kernels.compiled.pages import aligned
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    NormStep,
    Step,
    last_uses,
)
from sparsebench.exporters.kernels.inference.images import checked_images
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.pixels import PixelConvolution, Pixels
from sparsebench.exporters.kernels.inference.sizes import Size, size_after

Tell = Callable[[str, str, float], object]
Array = NDArray[Any]
Call = tuple[Callable[..., object], tuple[object, ...]]


class PixelNetwork:
    """All memory is taken and all calls are prepared once, because small batches are short.

    Args:
        network: what :func:`sparsebench.exporters.kernels.inference.onnx_reader.read_onnx` found.
        batch_size: N of every call.
        input_shape: ``(3, H, W)``.
        kernels: the compiled library, float32 or float64.
        threads: to share the work.

    Attributes:
        multiply_adds: of vectors in each convolution, of one call.

    Raises:
        SparsebenchError: a step does not fit what it reads.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: Library,
        threads: int,
    ) -> None:
        self.network, self.kernels, self.threads = network, kernels, threads
        self._dtype = np.dtype(kernels.dtype)
        self._item = self._dtype.itemsize
        shape = (batch_size, *input_shape)
        self._images = self._zeros(math.prod(shape)).reshape(shape)
        self._kept_alive: list[object] = []
        self.multiply_adds: Counter[str] = Counter()
        self._steps: list[tuple[str, str, list[Call]]] = []
        self._tensors: dict[int, Array] = {}
        self._shapes: dict[int, Pixels] = {}
        self._free: dict[Pixels, list[Array]] = {}
        self._input = Pixels(batch_size, *input_shape, *input_shape[1:], kernels.lanes)
        self._input = replace(self._input, item_bytes=self._item)
        last = last_uses(network.steps, network.output)
        sizes: dict[int, Size] = {IMAGES: input_shape}
        for i, step in enumerate(network.steps):
            sizes[step.out] = size_after(step, sizes, network.layers)
            calls: list[Call] = []
            self._prepare(step, calls)
            self._steps.append((getattr(step, "layer", ""), type(step).__name__, calls))
            for value in {step.inp, step.residual}:
                if value in self._tensors and last[value] == i:
                    self._give(value)
        self._features = self._tensors[network.output]

    def run(self, images: NDArray[np.float32], tell: Tell | None = None) -> NDArray[np.float32]:
        """``[N, 3, H, W]`` to ``[N, D]``, N as compiled.

        Args:
            images: float32.
            tell: is given the layer's name (or nothing), the kind and the seconds of each step.

        Raises:
            SparsebenchError: the images are not those that it is compiled for.
        """
        self._images[...] = checked_images(images, self._images.shape, self._dtype)
        for name, kind, calls in self._steps:
            start = time.perf_counter() if tell else 0.0
            for function, arguments in calls:
                function(*arguments)
            if tell:
                tell(name, kind, time.perf_counter() - start)
        return self.network.classify(self._features)

    def _prepare(self, step: Step, calls: list[Call]) -> None:
        kernels, threads = self.kernels, self.threads
        if isinstance(step, NormStep):
            self._convolve(step, calls)
            return
        assert not isinstance(step, ConvStep)
        inp = self._shape(step.inp, calls)
        x = self._place(step.inp)
        if isinstance(step, ActStep):
            y = self._take(step.out, inp)
            residual = self._aligned(step.residual, inp, calls)
            shape = CShape(inp.channels, 1, inp.vectors, inp.channel_stride, inp.images)
            calls.append((kernels.act, (self._keep(shape), x, residual, y, step.act, threads)))
        elif isinstance(step, MaxPoolStep):
            height, width = (
                (size + 2 * step.padding - step.kernel) // step.stride + 1
                for size in (inp.height, inp.width)
            )
            out = replace(inp, height=height, width=width, rows=height + 1, row=width + 1)
            y = self._take(step.out, out)
            window = (step.kernel, step.stride, step.padding)
            call = (self._keep(inp.c), self._keep(out.c), *window, x, y, threads)
            calls.append((kernels.pixel_max_pool, call))
        else:
            features = np.zeros((inp.images, inp.channels), self._dtype)
            self._tensors[step.out] = features
            line = self._keep(inp.c)
            calls.append((kernels.pixel_mean, (line, x, features.ctypes.data, threads)))

    def _convolve(self, step: NormStep, calls: list[Call]) -> None:
        kernels, threads = self.kernels, self.threads
        weight, bias, geometry = self.network.layers[step.layer]
        plain = step.inp == IMAGES
        given = self._input if plain else self._shapes[step.inp]
        layer = PixelConvolution(geometry, given, plain)
        plan = layer.plan(
            Pattern.of(weight != 0, geometry.groups),
            threads=threads,
            most=kernels.most_forward,
            most_alike=kernels.most_alike,
        )
        self.multiply_adds[step.layer] += plan.multiply_adds
        plan.entries["weight"] = weight[weight != 0][plan.order]
        if layer.phases is not None:
            x = self._phases(step.inp, given, layer, calls)
        else:
            x = self._place(step.inp)
        own = None if bias is None else np.ascontiguousarray(bias, self._dtype)
        residual = self._aligned(step.residual, layer.out, calls)
        y = self._take(step.out, layer.out)
        call = CForward(x, y, None if own is None else own.ctypes.data, residual, step.act)
        self._kept_alive += [plan, own]
        calls.append((kernels.forward1, (plan.reference, self._keep(call), threads)))
        if layer.phases is not None:
            self._give(-1)

    def _phases(self, value: int, given: Pixels, layer: PixelConvolution, calls: list[Call]) -> int:
        """Copies the input's phases; they live as value -1 until the convolution has run."""
        source, x = given.c, 0
        if value == IMAGES:
            plane = given.height * given.width
            source.channel, source.image = plane, plane * given.channels
            x = self._images.ctypes.data
        else:
            x = self._place(value)
        assert layer.phases is not None
        offsets = np.array(layer.phases, np.int32)
        self._kept_alive.append(offsets)
        y = self._take(-1, layer.inp)
        call = (
            self._keep(source),
            self._keep(layer.inp.c),
            offsets.ctypes.data,
            len(layer.phases),
            *layer.geometry.stride,
            x,
            y,
            self.threads,
        )
        calls.append((self.kernels.pixel_phases, call))
        return y

    def _aligned(self, value: int | None, shape: Pixels, calls: list[Call]) -> int | None:
        """Where a residual lies, copied if its rows are of another length."""
        if value is None:
            return None
        own = self._shape(value, calls)
        if own == shape:
            return self._place(value)
        zero = np.zeros(2, np.int32)
        copied = self._zeros(shape.numel)
        self._kept_alive += [zero, copied]
        y = copied.ctypes.data + shape.lead * self._item
        call = (self._keep(own.c), self._keep(shape.c), zero.ctypes.data, 1, 1, 1)
        calls.append((self.kernels.pixel_phases, (*call, self._place(value), y, self.threads)))
        return y

    def _shape(self, value: int, calls: list[Call]) -> Pixels:
        """The shape of a value; images as they came are copied into lines first."""
        if value not in self._shapes:
            given = self._input
            lines = replace(given, rows=given.height + 1, row=given.width + 1)
            source, zero = given.c, np.zeros(2, np.int32)
            plane = given.height * given.width
            source.channel, source.image = plane, plane * given.channels
            self._kept_alive.append(zero)
            y = self._take(IMAGES, lines)
            call = (self._keep(source), self._keep(lines.c), zero.ctypes.data, 1, 1, 1)
            calls.append(
                (
                    self.kernels.pixel_phases,
                    (*call, self._images.ctypes.data, y, self.threads),
                )
            )
        return self._shapes[value]

    def _take(self, value: int, shape: Pixels) -> int:
        """Memory for a value. What was used with the same shape keeps its zeros in the gaps."""
        free = self._free.get(shape)
        if free:
            tensor = free.pop()
        else:
            tensor = self._zeros(shape.numel)
            self._kept_alive.append(tensor)
        self._tensors[value], self._shapes[value] = tensor, shape
        return self._place(value)

    def _zeros(self, numel: int) -> Array:
        return aligned(numel * self._item).view(self._dtype)

    def _give(self, value: int) -> None:
        shape = self._shapes[value]
        self._free.setdefault(shape, []).append(self._tensors.pop(value))

    def _place(self, value: int) -> int:
        """Address of a value's first pixel."""
        return self._tensors[value].ctypes.data + self._shapes[value].lead * self._item

    def _keep(self, structure: ctypes.Structure) -> object:
        self._kept_alive.append(structure)
        return ctypes.byref(structure)
