"""What is known of the registered tasks before they are opened.

The twelve data sets of "How Well Do Sparse ImageNet Models Transfer?" (Iofinova, Peste,
Kurtz, Alistarh, CVPR 2022): class counts, pixel statistics and learning rates are those of
the paper's published code. Its raw results show the metric: every accuracy of Birdsnap, Cars
and DTD is a whole number of test images (top-1); those of Aircraft, Caltech, Flowers and
Pets are not (mean per class). The sizes of the splits are stated by torchvision's
documentation, follow from the code (30 or 60 images a class) or from those raw results;
a side in `unverified` is only reported for the paper's split.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsebench.bench.tasks.base import Metric

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class TaskFacts:
    """A registered task, as the paper (or its owner) has it.

    Attributes:
        classes: number of classes.
        train: training images.
        test: test images.
        metric: what its accuracy means.
        mean: of the pixels, RGB in 0..1: the paper's normalisation in fine-tuning with
            augmentation (its cached-linear runs use ImageNet's instead); None: no figure.
        std: likewise.
        full_learning_rate: the paper's first learning rate for full fine-tuning.
        unverified: sides (``train``, ``test``) whose size no source at hand confirms.
    """

    classes: int
    train: int
    test: int
    metric: Metric = "top1"
    mean: RGB | None = None
    std: RGB | None = None
    full_learning_rate: float = 0.001
    unverified: tuple[str, ...] = ()


PAPER_TASKS: dict[str, TaskFacts] = {
    "aircraft": TaskFacts(
        *(100, 6_667, 3_333, "mean_per_class"),
        mean=(0.4892, 0.5159, 0.5356),
        std=(0.2275, 0.2200, 0.2476),
        full_learning_rate=0.01,
        unverified=("train", "test"),
    ),
    "birdsnap": TaskFacts(
        *(500, 32_677, 8_171, "top1"),
        mean=(0.4856, 0.4948, 0.4486),
        std=(0.2233, 0.2213, 0.2586),
        unverified=("train",),
    ),
    "caltech101": TaskFacts(
        *(101, 3_030, 5_647, "mean_per_class"),
        mean=(0.5413, 0.5063, 0.4693),
        std=(0.3115, 0.3090, 0.3183),
    ),
    "caltech256": TaskFacts(
        *(257, 15_420, 15_187, "mean_per_class"),
        mean=(0.5438, 0.5141, 0.4821),
        std=(0.3077, 0.3044, 0.3163),
        unverified=("test",),
    ),
    "cars": TaskFacts(
        *(196, 8_144, 8_041, "top1"),
        mean=(0.4513, 0.4354, 0.4358),
        std=(0.2900, 0.2880, 0.2951),
        full_learning_rate=0.01,
    ),
    "cifar10": TaskFacts(
        *(10, 50_000, 10_000, "top1"),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    "cifar100": TaskFacts(
        *(100, 50_000, 10_000, "top1"),
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
    "dtd": TaskFacts(
        *(47, 3_760, 1_880, "top1"),
        mean=(0.5322, 0.4734, 0.4251),
        std=(0.2642, 0.2530, 0.2613),
    ),
    "flowers102": TaskFacts(
        *(102, 2_040, 6_149, "mean_per_class"),
        mean=(0.5133, 0.4148, 0.3383),
        std=(0.2959, 0.2502, 0.2900),
        unverified=("train", "test"),
    ),
    "food101": TaskFacts(
        *(101, 75_750, 25_250, "top1"),
        mean=(0.5566, 0.4378, 0.3193),
        std=(0.2589, 0.2622, 0.2630),
    ),
    "pets": TaskFacts(
        *(37, 3_680, 3_669, "mean_per_class"),
        mean=(0.4807, 0.4432, 0.3949),
        std=(0.2598, 0.2537, 0.2597),
        unverified=("train", "test"),
    ),
    "sun397": TaskFacts(
        *(397, 19_850, 19_850, "top1"),
        mean=(0.4772, 0.4566, 0.4168),
        std=(0.2556, 0.2520, 0.2720),
        unverified=("train", "test"),
    ),
}

FACTS: dict[str, TaskFacts] = {
    "digits": TaskFacts(10, 1_258, 539),
    **PAPER_TASKS,
    "fashion-mnist": TaskFacts(10, 60_000, 10_000),
}


def facts_of(task: str) -> TaskFacts | None:
    """Facts of a task by its name, ``NAME`` or ``NAME:LIMIT``; None for all others."""
    return FACTS.get(task.partition(":")[0])
