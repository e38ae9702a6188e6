"""How fast heads train: this suite's batched training against plain PyTorch loops.

    python -m sparsebench.results.scripts.heads            # all sizes
    python -m sparsebench.results.scripts.heads --sizes flowers-like --epochs 30 --threads 1 2
    python -m sparsebench.results.scripts.heads --schedule 150  # L-BFGS, paper's schedule

The variants take turns within each round, so that whatever else the machine does weighs on
all of them; printed are medians over rounds of the time itself and of the ratios within a
round. Features are random with zeros as after a ReLU; their values do not matter to the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.kernel import find_kernel
from sparsebench.bench.heads.lbfgs import train_lbfgs
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.sgd import EXECUTIONS, train_sgd

# Images, features, classes.
SIZES = {
    "digits-like": (1258, 512, 10),
    "flowers-like": (3400, 512, 5),
    "flowers-102-like": (2040, 2048, 102),
}
PLAIN = "plain loop, 1 seed"


def plain_loop(
    features: torch.Tensor, labels: torch.Tensor, classes: int, recipe: LinearRecipe, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one would write by hand for one seed; returns weights ``[C, D]`` and bias ``[C]``."""
    torch.manual_seed(seed)
    head = torch.nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.SGD(
        head.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    for rate in recipe.rates():
        optimizer.param_groups[0]["lr"] = rate
        for batch in torch.randperm(len(features)).split(recipe.batch_size):  # type: ignore[no-untyped-call]
            scores = head(features[batch])
            loss = torch.nn.functional.cross_entropy(scores, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return head.weight.detach(), head.bias.detach()


def random_task(
    count: int, width: int, classes: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features ``[count, width]`` and labels that are partly learnable."""
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=count)
    centres = generator.normal(size=(classes, width))
    noise = generator.normal(size=(count, width))
    features = np.maximum(0, centres[labels] * 0.2 + noise).astype(np.float32)
    return features, labels.astype(np.int64)


def variants(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, five: LinearRecipe
) -> dict[str, Callable[[], object]]:
    """Name -> training of what is compared, after the kernel is compiled."""
    one = replace(five, seeds=five.seeds[:1])
    tensors = torch.from_numpy(features), torch.from_numpy(labels)
    found: dict[str, Callable[[], object]] = {
        PLAIN: partial(plain_loop, *tensors, classes, one, one.seeds[0])
    }
    kernel = find_kernel()
    if kernel.kernel is None:
        print(f"without the kernel: {kernel.reason}")
    for execution in EXECUTIONS if kernel.kernel else ("torch",):
        for recipe in (one, five):
            found[f"{execution}, {len(recipe.seeds)} seed(s)"] = partial(
                train_sgd, features, labels, classes, recipe, execution=execution
            )
    return found


def main() -> None:
    """Run the benchmark and print a table for every size and number of threads."""
    parser = argparse.ArgumentParser(description="Time head training.")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each timed training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--schedule",
        type=int,
        default=0,
        help="epochs of a plain loop that L-BFGS is compared with (the paper's: 150); 0: none",
    )
    parser.add_argument("--cpu-time", action="store_true", help="process time, not wall time")
    options = parser.parse_args()
    now = time.process_time if options.cpu_time else time.perf_counter
    for name in options.sizes:
        count, width, classes = SIZES[name]
        features, labels = random_task(count, width, classes)
        five = LinearRecipe(epochs=options.epochs)
        for threads in options.threads:
            torch.set_num_threads(threads)
            runs = variants(features, labels, classes, five)
            seconds: dict[str, list[float]] = {variant: [] for variant in runs}
            for variant, run in [*runs.items()] * options.rounds:
                start = now()
                run()
                seconds[variant].append((now() - start) / options.epochs)
            print(f"{name}: {count} x {width}, {classes} classes, {threads} thread(s)")
            report(seconds)
        lbfgs_beside_plain(features, labels, classes, options.schedule, now)


def lbfgs_beside_plain(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    epochs: int,
    now: Callable[[], float],
) -> None:
    """Print the time of L-BFGS and of a plain loop over its whole schedule, and where they end.

    The loss is the mean cross-entropy in float64, with and without the penalty on the weights;
    L-BFGS minimises that sum, the plain loop's weight decay is on the bias too.
    """
    recipe = LinearRecipe(epochs=epochs or 1, seeds=(0,))
    tensors = torch.from_numpy(features), torch.from_numpy(labels)
    ends: dict[str, tuple[float, tuple[torch.Tensor, torch.Tensor]]] = {}
    start = now()
    heads = train_lbfgs(features, labels, classes, recipe)
    found = torch.from_numpy(heads.weights[0]), torch.from_numpy(heads.bias[0])
    ends[f"L-BFGS, {len(heads.losses)} evaluations"] = (now() - start, found)
    if epochs:
        start = now()
        found = plain_loop(*tensors, classes, recipe, 0)
        ends[f"{PLAIN}, {epochs} epochs"] = (now() - start, found)
    for name, (seconds, (weight, bias)) in ends.items():
        scores = tensors[0].double() @ weight.double().T + bias.double()
        loss = float(torch.nn.functional.cross_entropy(scores, tensors[1]))
        whole = loss + recipe.weight_decay / 2 * float(weight.double().square().sum())
        print(f"  {name}: {seconds:.3f} s, loss {loss:.5f}, with the penalty {whole:.5f}")


def report(seconds: dict[str, list[float]]) -> None:
    """Print the medians, and ratios within rounds."""
    for variant, times in seconds.items():
        spread = f"(from {min(times) * 1e3:.2f})"
        print(f"  {variant:18s} {statistics.median(times) * 1e3:9.2f} ms an epoch {spread}")
    for variant, times in seconds.items():
        execution, _, seeds = variant.partition(", ")
        if not seeds.startswith("5"):
            continue
        for text, base in (
            (f"one seed ({execution})", seconds[f"{execution}, 1 seed(s)"]),
            ("one seed of the plain loop", seconds[PLAIN]),
        ):
            ratio = statistics.median(m / b for m, b in zip(times, base, strict=True))
            print(f"  five seeds ({execution}) cost {ratio:.2f} x {text}")


if __name__ == "__main__":
    main()
