"""How fast heads train: this suite's batched training against plain PyTorch loops.

    python -m bench.heads.benchmark            # both sizes
    python -m bench.heads.benchmark --epochs 3 --rounds 9 --threads 1

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

from bench.heads.lbfgs import train_lbfgs
from bench.heads.recipe import LinearRecipe
from bench.heads.sgd import train_sgd

SIZES = {"digits-like": (1258, 512, 10), "flowers-102-like": (2040, 2048, 102)}


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


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description="Time head training.")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each timed training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="process time, not wall time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    now = time.process_time if options.cpu_time else time.perf_counter
    for name, (count, width, classes) in SIZES.items():
        features, labels = random_task(count, width, classes)
        tensors = torch.from_numpy(features), torch.from_numpy(labels)
        five = LinearRecipe(epochs=options.epochs)
        one = replace(five, seeds=five.seeds[:1])
        variants: dict[str, Callable[[], object]] = {
            "plain loop, 1 seed": partial(plain_loop, *tensors, classes, one, 21),
            "batched, 1 seed": partial(train_sgd, features, labels, classes, one),
            "batched, 5 seeds": partial(train_sgd, features, labels, classes, five),
        }
        seconds: dict[str, list[float]] = {variant: [] for variant in variants}
        for _ in range(options.rounds):
            for variant, run in variants.items():
                start = now()
                run()
                seconds[variant].append(now() - start)
        print(f"{name}: {count} x {width}, {classes} classes, {options.threads} thread(s)")
        plain, single, many = (seconds[variant] for variant in variants)
        for variant, times in seconds.items():
            print(f"  {variant:20s} {statistics.median(times) / options.epochs:9.5f} s an epoch")
        for text, base in (("own single seed", single), ("plain loop of one seed", plain)):
            ratio = statistics.median(m / b for m, b in zip(many, base, strict=True))
            print(f"  five seeds cost {ratio:.2f} x the {text}")
        start = now()
        heads = train_lbfgs(features, labels, classes, one)
        print(f"  L-BFGS: {now() - start:.3f} s, {len(heads.losses)} evaluations")


if __name__ == "__main__":
    main()
