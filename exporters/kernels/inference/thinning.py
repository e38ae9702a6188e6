"""Strided 1x1 convolutions taken apart: the pixels that they read, then one without a stride."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.exporters.kernels.compiled.steps import MaxPoolStep, NormStep, Step
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork


def thin_inputs(network: OnnxNetwork) -> OnnxNetwork:
    """The network with a pooling of 1x1 in front of each strided 1x1 convolution.

    Such a convolution reads one pixel of four or more, spread over all cache lines of its
    input; a copy of those pixels alone is read by every output channel instead.
    """
    steps: list[Step] = []
    layers = dict(network.layers)
    following = max((step.out for step in network.steps), default=0) + 1
    thinned: dict[tuple[int, int], int] = {}
    for step in network.steps:
        if isinstance(step, NormStep):
            weight, bias, geometry = layers[step.layer]
            stride = geometry.stride[0]
            plain = geometry.kernel == (1, 1) and not any(geometry.padding)
            if plain and geometry.stride == (stride, stride) and stride > 1:
                if (step.inp, stride) not in thinned:
                    thinned[step.inp, stride] = following
                    steps.append(MaxPoolStep(step.inp, following, 1, stride, 0))
                    following += 1
                layers[step.layer] = (weight, bias, replace(geometry, stride=(1, 1)))
                step = replace(step, inp=thinned[step.inp, stride])
        steps.append(step)
    return replace(network, steps=steps, layers=layers)
