"""The cost model: seconds of a cell = launches + sum over stages of rate x work.

Rates come from this machine's earlier runs. For a cell that was never measured they come
from the nearest one that was: the same backbone in another workload does not help, but the same
engine and workload on another backbone or task does, scaled by the FLOPs that the architecture
needs; and where nothing is known, from a plain guess of what a core computes. The prediction says
which of these it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from statistics import median

from sparsebench.bench.forecast.rates import Key, Rate, Rates, key_of
from sparsebench.bench.forecast.work import Amounts, units
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.workloads import inference
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import is_onnx_name
from sparsebench.models.sources.onnx_file import ARCH as ONNX_FILES

# Starting an engine's process with its libraries, and checking outputs; all of a block's start at
# once. 0.6 s (DeepSparse) to 2.2 s (PyTorch) each on two cores, compiling apart.
LAUNCH_SECONDS = 1.5
# The same for a training, until a run has shown it: a process that imports PyTorch, opens the task,
# loads the network, and evaluates its best epoch beside the clock. 7 to 10 s on two cores.
TRAINING_LAUNCH_SECONDS = 8.0
# `full` tries its ways of running, once a run: 2 to 10 s there.
CALIBRATION_SECONDS = 4.0
# A guess for machines that nothing was measured on: FLOPs a second and thread.
GUESSED_FLOPS = 2.0e10
GUESSED_PICTURE_SECONDS = 0.002
GUESSED_HEAD_SECONDS = 1e-5  # for a picture and epoch
# What L-BFGS needs for a picture, in the SGD schedule's epochs: about as many as the paper's has.
LBFGS_EPOCHS = 150
# Of a ResNet-18 at 224 pixels.
GUESSED_MACS = 1.8e9
# Forward and backward pass, in forward passes.
TRAINING_PASSES = 3.0
_COMPUTES = {"extract", "forward", "backward", "call", "evaluate"}


@dataclass(frozen=True)
class Prediction:
    """The time of a cell.

    Attributes:
        seconds: one trial, end to end.
        whole: all blocks, with launching and compiling.
        basis: ``measured`` (this cell, on this task, with this solver), ``scaled`` (another
            backbone, task or head on this engine) or ``guessed``.
    """

    seconds: float
    whole: float
    basis: str


def predict(
    cell: Cell,
    amounts: Amounts,
    blocks: int,
    min_seconds: float,
    rates: Rates,
    *,
    trainings: int = 0,
    together: int = 1,
    shared: int = 1,
    tune: bool = False,
) -> Prediction:
    """Predict one cell.

    Args:
        cell: what will be measured.
        amounts: sizes of its task and recipe.
        blocks: of the plan.
        min_seconds: the plan's least time of a visit in ``inference``.
        rates: of this machine.
        trainings: of step-by-step training in all blocks, if those are more than the blocks.
        together: cells of ``inference`` that take turns in a block.
        shared: workloads that one engine's process of a block serves, this one among them.
        tune: whether ``full`` calibrates.
    """
    rate, basis = _rate(key_of(cell, amounts), cell.dense, rates)
    if cell.workload == "inference":
        seconds = rate.stages["call"]
        trial = _visits(seconds, min_seconds, together)
    else:
        work = units(cell.workload, amounts)
        trial = seconds = sum(rate.stages.get(name, 0.0) * unit for name, unit in work.items())
    launch, calibration = LAUNCH_SECONDS / shared, 0.0
    if cell.workload == "full":
        launch = TRAINING_LAUNCH_SECONDS if rate.launch is None else rate.launch
        calibration = (rate.calibration or CALIBRATION_SECONDS) if tune else 0.0
    whole = max(blocks, trainings) * trial + blocks * (rate.once / shared + launch) + calibration
    return Prediction(seconds, whole, basis)


def _visits(call: float, min_seconds: float, together: int) -> float:
    """Seconds of one trial of ``inference``: a warm-up, then all visits."""
    # It settles, in the middle, after half of the calls that it may take.
    warmup = call * min(inference.WARMUP_CALLS / 2, inference.WARMUP_SECONDS / call + 1)
    visit = min(max(inference.VISIT_CALLS * call, min_seconds), inference.VISIT_MOST * call)
    wake = call if call < inference.WAKE_BELOW_SECONDS else 0.0
    return warmup + inference.passes(together) * (visit + wake)


def _rate(key: Key, dense: str, rates: Rates) -> tuple[Rate, str]:
    if key in rates.known:
        return rates.known[key], "measured"
    same: tuple[str, ...] = ("workload", "engine", "device", "precision", "threads")
    alike = [k for k in rates.known if all(getattr(k, n) == getattr(key, n) for n in same)]
    # All of full's engines train in PyTorch: another one of them is nearer than FLOPs alone.
    if not alike and key.workload == "full":
        same = ("workload", "device", "threads")
        alike = [k for k in rates.known if all(getattr(k, n) == getattr(key, n) for n in same)]
    if alike:
        near = min(alike, key=lambda k: _distance(k, key, dense))
        return _scaled(near, key, rates), "scaled"
    return _guess(key), "guessed"


def _distance(known: Key, key: Key, dense: str) -> tuple[float, ...]:
    """How little a known rate says of a cell, the greatest differences first."""
    return (
        known.solver != key.solver,
        known.prepared != key.prepared,
        _arch(known.backbone) != _arch(key.backbone),
        known.backbone != key.backbone,
        known.backbone != dense,
        known.task != key.task,
        known.size != key.size,
        known.deterministic != key.deterministic,
        abs(known.strengths - key.strengths),
        abs(known.batch_size - key.batch_size),
    )


def _scaled(near: Key, key: Key, rates: Rates) -> Rate:
    """The rate of another cell, by FLOPs; stages of which it says nothing come from elsewhere."""
    ratio = 1.0
    if (near.backbone, near.size) != (key.backbone, key.size):
        ratio = flops(key.backbone, key.size) / flops(near.backbone, near.size)
    ratio *= key.batch_size / near.batch_size if key.workload == "inference" else 1.0
    known = rates.known[near]
    stages = {n: s * (ratio if n in _COMPUTES else 1.0) for n, s in known.stages.items()}
    if near.solver != key.solver:
        stages["head"] = _guess(key).stages["head"]
    if near.prepared != key.prepared or near.task != key.task:
        decode = _decoding(key, rates)
        if decode is not None:
            stages["decode"] = decode
        elif near.prepared != key.prepared:
            stages["decode"] = _guess(key).stages["decode"]
    return replace(known, stages=stages)


def _decoding(key: Key, rates: Rates) -> float | None:
    """Seconds of decoding a picture of the same task at the same size for another network."""
    same = ("workload", "task", "size", "prepared", "threads")
    found = [
        rate.stages["decode"]
        for k, rate in rates.known.items()
        if "decode" in rate.stages and all(getattr(k, n) == getattr(key, n) for n in same)
    ]
    return median(found) if found else None


def _guess(key: Key) -> Rate:
    picture = 2 * flops(key.backbone, key.size) / (GUESSED_FLOPS * key.threads)
    small = GUESSED_PICTURE_SECONDS
    head = GUESSED_HEAD_SECONDS * (LBFGS_EPOCHS if key.solver == "lbfgs" else 1)
    stages = {
        "call": picture * key.batch_size,
        "extract": picture,
        "forward": picture,
        "backward": picture * (TRAINING_PASSES - 1),
        "evaluate": picture if key.workload != "linear-cached" else 0.0,
        "decode": 0.0 if key.prepared else small,
        "augment": small,
        "head": head,
        "optimizer": picture * 0.05,
        "load": 0.3,
        "store": 1e-6,
    }
    return Rate(stages, 2.0)


def _arch(backbone: str) -> str:
    # Files are all of one kind: earlier runs' may be gone, nothing can be asked of them.
    return ONNX_FILES if is_onnx_name(backbone) else backbone.split("/")[0]


@cache
def flops(backbone: str, size: int) -> float:
    """Multiply-adds of a picture through the dense architecture, at a picture size in pixels.

    A file that is gone or does not run counts as a network of middle size: why it cannot be
    measured is for its record to say.
    """
    from sparsebench.models.architectures import build
    from sparsebench.models.costs import count_costs, total_cost
    from sparsebench.models.sources.onnx_file import load_onnx
    from sparsebench.models.zoo import find_card

    if is_onnx_name(backbone):
        try:
            return float(total_cost(load_onnx(backbone).costs(size)).macs)
        except SparsebenchError:
            return GUESSED_MACS
    module = build(find_card(backbone).arch, 10)
    return float(total_cost(count_costs(module, (3, size, size))).macs)
