"""A whole training step, sparse and dense in turns:
``python -m sparsebench.results.scripts.kernels``.

Data on hand; forward, loss, backward, optimizer (SGD with momentum and weight decay). The
dense network is PyTorch's, masked, in both memory layouts and with matrix products in place of
convolutions over small planes, in fp32 and under bf16 autocast; the best of these counts. All of
them alternate within one process, so that what disturbs one disturbs all; shown are medians, and
ratios of the medians and of the minima, and the least processor time, which others on the machine
disturb the least.

``--method rigl-90`` and the like takes the mask of that backbone instead of a generated one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import chosen_isa
from sparsebench.exporters.kernels.generated.memory import no_pairs
from sparsebench.exporters.kernels.training.module import sparsify_module
from sparsebench.models.generated import generate
from sparsebench.models.masks import mask_of
from sparsebench.models.matrix_products import use_matrix_products

Step = Callable[[], None]
CLASSES = 100


def training_step(module: nn.Module, images: Tensor, labels: Tensor, bf16: bool = False) -> Step:
    """One step of SGD as a function without arguments."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = module(images)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        optimizer.step()

    return step


def network(arch: str, method: str, sparsity: float) -> nn.Module:
    """Generated, or a backbone of the zoo where the method names one; both of 100 classes."""
    if "-" not in method:
        return generate(arch, method, sparsity, CLASSES).train()
    from sparsebench.models.zoo.load import load_backbone

    return load_backbone(f"{arch}/{method}").module.train()


def contestants(
    arch: str, method: str, sparsity: float, size: int, batch: int, threads: int
) -> dict[str, Callable[[], Step]]:
    """Name -> what makes the step of that execution, on the same images and weights."""
    torch.manual_seed(0)
    images = torch.randn(batch, 3, size, size)
    labels = torch.randint(0, CLASSES, (batch,))

    def dense(bf16: bool, layout: torch.memory_format, products: bool) -> Step:
        module = network(arch, method, sparsity)
        module.to(memory_format=layout)
        if products:
            use_matrix_products(module)
        return training_step(module, images.contiguous(memory_format=layout), labels, bf16)

    def sparse(precision: str) -> Step:
        module = network(arch, method, sparsity)
        mask = {name: kept for name, kept in mask_of(module).items() if kept.ndim == 4}
        made = sparsify_module(module, mask, images, threads=threads, precision=precision)
        return training_step(made, images, labels)

    makers: dict[str, Callable[[], Step]] = {}
    for bf16 in (False, True):
        precision = "bf16" if bf16 else "fp32"
        makers[f"{precision} contiguous"] = partial(dense, bf16, torch.contiguous_format, False)
        makers[f"{precision} channels-last"] = partial(dense, bf16, torch.channels_last, False)
        products = partial(dense, bf16, torch.channels_last, True)
        makers[f"{precision} channels-last products"] = products
    makers["sparse"] = partial(sparse, "fp32")
    if not no_pairs(chosen_isa(), "float32"):
        makers["sparse bf16"] = partial(sparse, "bf16")
    return makers


def peak_mb(name: str, setting: tuple[str, str, float, int, int, int], queue: Any) -> None:
    """In a process of its own: how far three steps raise the peak of its memory above that of the
    imports, in MB; with their preparation, and by themselves (Linux)."""
    import_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.set_num_threads(setting[-1])
    step = contestants(*setting)[name]()
    prepared = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is in use now
    for _ in range(3):
        step()
    lines = Path("/proc/self/status").read_text().splitlines()
    steps = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    queue.put(tuple((peak - import_peak) // 1024 for peak in (max(prepared, steps), steps)))


def peaks(setting: tuple[str, str, float, int, int, int]) -> dict[str, tuple[int, int]]:
    """Name -> peak memory of each execution alone, see :func:`peak_mb`."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for name in contestants(*setting):
        queue = context.Queue()
        process = context.Process(target=peak_mb, args=(name, setting, queue))
        process.start()
        found[name] = queue.get()
        process.join()
    return found


def interleave(
    steps: dict[str, Step], rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each step in every round, after one of warming up; least processor seconds."""
    names = list(steps)
    times: dict[str, list[float]] = {name: [] for name in names}
    least = dict.fromkeys(names, float("inf"))
    for turn in range(rounds + 1):
        for name in names if turn % 2 else reversed(names):
            start, spent = time.perf_counter(), time.process_time()
            steps[name]()
            if turn:
                times[name].append(time.perf_counter() - start)
                least[name] = min(least[name], time.process_time() - spent)
    return times, least


def summarise(times: dict[str, list[float]]) -> dict[str, float]:
    """Ratios against the best form of each precision, from medians and from minima."""
    found: dict[str, float] = {}
    for label, reduce in (("median", statistics.median), ("min", min)):
        of = {name: reduce(samples) for name, samples in times.items()}
        for precision in ("fp32", "bf16"):
            best = min(value for name, value in of.items() if name.startswith(precision))
            for name in (name for name in of if name.startswith("sparse")):
                found[f"{precision}/{name} ({label})"] = round(best / of[name], 3)
    return found


def main() -> None:
    """Parse the command line, measure, print one JSON line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--method", default="uniform")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.8, 0.9, 0.95])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for sparsity in options.sparsity:
        setting = (
            options.arch,
            options.method,
            sparsity,
            options.size,
            options.batch,
            options.threads,
        )
        names = ("arch", "method", "sparsity", "size", "batch", "threads")
        line: dict[str, Any] = dict(zip(names, setting, strict=True))
        if options.memory:
            found = peaks(setting)
            line |= {"peak_mb": {name: whole for name, (whole, _) in found.items()}}
            line |= {"steps_peak_mb": {name: steps for name, (_, steps) in found.items()}}
            print(json.dumps(line), flush=True)
            continue
        steps = {name: make() for name, make in contestants(*setting).items()}
        times, least = interleave(steps, options.rounds)
        line |= {
            **summarise(times),
            "median_ms": {n: round(statistics.median(t) * 1e3, 1) for n, t in times.items()},
            "processor_ms": {n: round(t * 1e3, 1) for n, t in least.items()},
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
