"""A network from an ONNX file, compiled for one batch size and run forward only."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.kernels.buffers import Buffers
from exporters.kernels.convolution import Convolution
from exporters.kernels.layout import Blocked
from exporters.kernels.library import CWindow, Library
from exporters.kernels.onnx_reader import OnnxNetwork
from exporters.kernels.pooling import pool_window
from exporters.kernels.steps import PICTURES, ActStep, MaxPoolStep, NormStep, last_uses


class CompiledNetwork:
    """Batch norm folded, bias, residual and activation fused into the convolutions.

    Args:
        network: what :func:`exporters.kernels.onnx_reader.read_onnx` found.
        batch_size: N of every call.
        input_shape: ``(3, H, W)``.
        kernels: the compiled library, float32.
        threads: to share the work.
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
        self._buffers = Buffers(torch.float32)
        self._last = last_uses(network.steps, network.output)
        self._input = Blocked(batch_size, *input_shape, kernels.lanes)
        self._layers: dict[str, tuple[Convolution, torch.Tensor | None]] = {}
        self._fresh: dict[str, torch.Tensor] = {}
        for name, (weight, bias, geometry) in network.layers.items():
            layer = Convolution(weight != 0, geometry, kernels, threads)
            self._layers[name] = (layer, None if bias is None else torch.from_numpy(bias))
            self._fresh[name] = torch.from_numpy(weight[weight != 0])
        self.run(np.zeros((batch_size, *input_shape), np.float32))

    def run(
        self,
        images: NDArray[np.float32],
        tell: Callable[[str, str, float], object] | None = None,
    ) -> NDArray[np.float32]:
        """``[N, 3, H, W]`` to ``[N, D]``, N as compiled.

        Args:
            images: float32.
            tell: is given the layer's name (or nothing), the kind and the seconds of each step.
        """
        kernels, threads = self.kernels, self.threads
        images = np.ascontiguousarray(images, np.float32)
        x = self._buffers.take(self._input.numel)
        kernels.to_blocked(self._input.reference, images.ctypes.data, x.data_ptr(), threads)
        tensors, shapes = {PICTURES: x}, {PICTURES: self._input}
        for i, step in enumerate(self.network.steps):
            start = time.perf_counter() if tell else 0.0
            x, inp = tensors[step.inp], shapes[step.inp]
            residual = None if step.residual is None else tensors[step.residual]
            out = inp
            if isinstance(step, NormStep):
                layer, bias = self._layers[step.layer]
                out = layer.output(inp)
                y = self._buffers.take(out.numel)
                values = self._fresh.pop(step.layer, None)  # packed by the first call
                layer.forward(inp, x, values, y, bias=bias, residual=residual, act=step.act)
            elif isinstance(step, ActStep):
                y = self._buffers.take(out.numel)
                other = None if residual is None else residual.data_ptr()
                kernels.act(inp.reference, x.data_ptr(), other, y.data_ptr(), step.act, threads)
            elif isinstance(step, MaxPoolStep):
                window: CWindow = pool_window(step, inp)
                out = Blocked(inp.pictures, inp.channels, window.out_h, window.out_w, inp.lanes)
                window.output = out.c
                y = self._buffers.take(out.numel)
                kernels.max_pool(ctypes.byref(window), x.data_ptr(), y.data_ptr(), threads)
            else:
                y = torch.empty(inp.pictures, inp.channels)
                kernels.mean_pool(inp.reference, x.data_ptr(), y.data_ptr(), threads)
            tensors[step.out], shapes[step.out] = y, out
            if tell:
                name = step.layer if isinstance(step, NormStep) else ""
                tell(name, type(step).__name__, time.perf_counter() - start)
            for value in {step.inp, step.residual}:
                if value is not None and self._last[value] == i:
                    self._buffers.give(tensors.pop(value))
        features: NDArray[np.float32] = tensors[self.network.output].numpy()
        return self.network.classify(features)
