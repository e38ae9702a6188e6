"""What keeping a mask costs: training steps of this suite against plain PyTorch.

    python -m sparsebench.results.scripts.training                      # ResNet-18, 64 px, batch 64
    python -m sparsebench.results.scripts.training --rounds 15 --threads 1

All variants take turns within each round, so that whatever else the machine does weighs on
all of them; printed are the median step and the median of the ratios within a round, with
the 95 % interval of that median (bootstrap over rounds).

- ``dense``: the dense backbone under ``torch.optim.SGD``, plain PyTorch.
- ``masked``: the sparse backbone under this suite's optimizer.
- ``published``: the sparse backbone as the paper's code keeps its mask: weights times mask in
  every forward pass, and again after every step.
- ``… bf16``: the same with autocast.
- ``… contiguous``: the plain memory format; the others are channels-last.
- ``… compiled`` (with ``--compile``, a minute or two more): fused by ``torch.compile``.

The last line sets bf16 against fp32, each in its fastest dense form.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from sparsebench.bench.training.network import Network, load_network
from sparsebench.bench.training.optimizer import MaskedSGD

CLASSES = 100
Step = Callable[[Tensor, Tensor], None]


class _TimesMask(nn.Module):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.float())

    def forward(self, weight: Tensor) -> Tensor:
        """The weight where the mask keeps it."""
        product: Tensor = weight * self.mask
        return product


def step_of(
    network: Network,
    optimizer: torch.optim.Optimizer,
    bf16: bool,
    *,
    channels_last: bool = True,
    compiled: bool = False,
) -> Step:
    """One update of a network, which is in that memory format."""
    module: Callable[[Tensor], Tensor] = network.module.train()
    if compiled:
        module = torch.compile(network.module)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def step(images: Tensor, labels: Tensor) -> None:
        images = images.contiguous(memory_format=layout)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = module(images)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        optimizer.step()

    return step


def variants(dense: str, sparse: str, compiled: bool) -> dict[str, Step]:
    """Name -> step, each on a network of its own."""
    settings: dict[str, Any] = {"lr": 1e-4, "momentum": 0.9, "weight_decay": 5e-4}
    found: dict[str, Step] = {}
    for bf16 in (False, True):
        end = " bf16" if bf16 else ""
        forms = [("", True, False), (" contiguous", False, False)]
        forms += [(" compiled", True, True)] if compiled else []
        for form, channels_last, fused in forms:
            plain = load_network(dense, CLASSES, 0, channels_last=channels_last)
            optimizer = torch.optim.SGD(plain.module.parameters(), fused=True, **settings)
            found[f"dense{end}{form}"] = step_of(
                plain, optimizer, bf16, channels_last=channels_last, compiled=fused
            )
        masked = load_network(sparse, CLASSES, 0, channels_last=True)
        ours = MaskedSGD(masked.module.parameters(), masked.sparse, **settings)
        found[f"masked{end}"] = step_of(masked, ours, bf16)
    found["published"] = _published(sparse, settings)
    return found


def _published(sparse: str, settings: dict[str, Any]) -> Step:
    network = load_network(sparse, CLASSES, 0, channels_last=True)
    names = {p: n for n, p in network.module.named_parameters()}
    wrapped = []
    for parameter, mask in network.sparse.items():
        layer = network.module.get_submodule(names[parameter].rpartition(".")[0])
        parametrize.register_parametrization(layer, "weight", _TimesMask(mask))
        wrapped.append((parameter, mask.float()))
    optimizer = torch.optim.SGD(network.module.parameters(), fused=True, **settings)
    step = step_of(network, optimizer, bf16=False)

    def with_mask(images: Tensor, labels: Tensor) -> None:
        step(images, labels)
        with torch.no_grad():
            for parameter, mask in wrapped:
                parameter.mul_(mask)

    return with_mask


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description="Time training steps.")
    parser.add_argument("--dense", default="resnet18/dense")
    parser.add_argument("--sparse", default="resnet18/gmp-90")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = variants(options.dense, options.sparse, options.compile)
    shape = (options.batch_size, 3, options.size, options.size)
    images = torch.randn(shape)
    labels = torch.randint(0, CLASSES, (options.batch_size,))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(2 + options.rounds):
        # There and back, so that a drift weighs on all alike.
        for name in [*steps, *reversed(steps)]:
            start = time.perf_counter()
            steps[name](images, labels)
            if number > 1:
                seconds[name].append(time.perf_counter() - start)
    print(f"{options.size} px, batch {options.batch_size}, {options.threads} thread(s)")
    for name in steps:
        base = "dense bf16" if name == "masked bf16" else "dense"
        ratios = np.array(seconds[name]) / np.array(seconds[base])
        low, high = interval(ratios)
        print(
            f"  {name:21s} {1000 * float(np.median(seconds[name])):8.1f} ms a step, "
            f"{float(np.median(ratios)):.3f} ({low:.3f}-{high:.3f}) x {base}"
        )
    fp32, bf16 = (fastest_dense(seconds, bf16=wanted) for wanted in (False, True))
    gains = np.array(seconds[fp32]) / np.array(seconds[bf16])
    low, high = interval(gains)
    print(f"  bf16 gains {float(np.median(gains)):.2f} ({low:.2f}-{high:.2f}): {bf16} over {fp32}")


def fastest_dense(seconds: dict[str, list[float]], *, bf16: bool) -> str:
    """Name of the dense form with the smallest median step in a precision."""
    names = [n for n in seconds if n.startswith("dense") and ("bf16" in n) == bf16]
    return min(names, key=lambda name: float(np.median(seconds[name])))


def interval(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the median: percentiles of a bootstrap over rounds."""
    from scipy.stats import bootstrap

    found = bootstrap(
        (ratios,),
        np.median,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


if __name__ == "__main__":
    main()
