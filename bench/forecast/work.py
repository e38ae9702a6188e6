"""The work of a trial, stage by stage: what each stage's seconds are proportional to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Amounts:
    """The sizes that the time of a trial depends on.

    Attributes:
        train: training pictures.
        test: test pictures.
        epochs: of the head (``linear-cached``) or of the training.
        seeds: trained in one trial (``linear-cached``); step-by-step training has 1.
        validation: share of the training pictures that validates.
        solver: ``sgd`` or ``lbfgs``.
        strengths: weight decays that a sweep tries before (``linear-cached``).
        prepared: whether the pictures are decoded before the clock starts.
        task: digest of the task: how long its pictures take to decode is its own.
        deterministic: whether ``full`` keeps to kernels that give the same bits every time.
    """

    train: int
    test: int
    epochs: int = 1
    seeds: int = 1
    validation: float = 0.0
    solver: str = "sgd"
    strengths: int = 0
    prepared: bool = False
    task: str = ""
    deterministic: bool = False


def units(workload: str, amounts: Amounts) -> dict[str, float]:
    """Stage -> units of work; the seconds of a stage are a rate times this.

    Pictures for decoding and extraction, pictures x epochs (x seeds) for training, pictures
    for evaluation, 1 for what is done once.
    """
    everything = amounts.train + amounts.test
    if workload == "linear-cached":
        # A sweep trains a head for each strength, on what it does not hold out.
        heads = amounts.seeds + amounts.strengths * (1 - amounts.validation)
        head = amounts.train * heads * (amounts.epochs if amounts.solver == "sgd" else 1)
        return {
            "load": 1,
            "decode": everything,
            "extract": everything,
            "store": everything,
            "head": head,
            "evaluate": amounts.test * amounts.seeds,
            "other": 1,
        }
    held = amounts.train * amounts.validation
    steps = (amounts.train - held) * amounts.epochs
    evaluated = held * amounts.epochs + amounts.test
    common = {"decode": everything, "augment": steps, "evaluate": evaluated, "other": 1}
    if workload == "linear-online":
        return {**common, "extract": steps, "head": steps}
    if workload == "full":
        return {**common, "load": 1, "forward": steps, "backward": steps, "optimizer": steps}
    return {}
