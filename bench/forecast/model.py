"""The cost model: seconds of a cell = launches + sum over stages of rate x work.

Rates come from this machine's earlier runs. For a cell that was never measured they come
from the nearest one that was: the same backbone in another workload does not help, but the same
engine and workload on another backbone does, scaled by the FLOPs that the architecture needs;
and where nothing is known, from a plain guess of what a core computes. The prediction says
which of these it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from bench.cells import Cell
from bench.forecast.rates import Rate, Rates
from bench.forecast.work import Amounts, units
from models.errors import SparsebenchError
from models.names import is_onnx_name
from models.sources.onnx_file import ARCH as ONNX_FILES

# Starting a process with its libraries, and checking outputs.
LAUNCH_SECONDS = 4.0
# A guess for machines that nothing was measured on: FLOPs a second and thread.
GUESSED_FLOPS = 2.0e10
GUESSED_PICTURE_SECONDS = 0.002
# Of a ResNet-18 at 224 pixels.
GUESSED_MACS = 1.8e9
# Forward and backward pass, in forward passes.
TRAINING_PASSES = 3.0
_COMPUTES = {"extract", "forward", "backward", "call", "evaluate"}
_INFERENCE_WARMUP_CALLS = 10
# As `bench.workloads.inference` does it.
_VISITS, _VISIT_CALLS = 4, 2


@dataclass(frozen=True)
class Prediction:
    """The time of a cell.

    Attributes:
        seconds: one trial, end to end.
        whole: all blocks, with launching and compiling.
        basis: ``measured`` (this cell), ``scaled`` (another backbone on this engine) or
            ``guessed``.
    """

    seconds: float
    whole: float
    basis: str


def predict(
    cell: Cell, amounts: Amounts, blocks: int, min_seconds: float, rates: Rates
) -> Prediction:
    """Predict one cell.

    Args:
        cell: what will be measured.
        amounts: sizes of its task and recipe.
        blocks: of the plan; for step-by-step training the trainings, if those are more.
        min_seconds: the plan's least time of a visit in ``inference``.
        rates: of this machine.
    """
    rate, basis = _rate(cell, rates)
    if cell.workload == "inference":
        call = rate.stages["call"]
        visits = _VISITS * max(_VISIT_CALLS * call, min_seconds)
        trial, seconds = call * min(_INFERENCE_WARMUP_CALLS, 4.0 / call + 1) + visits, call
    else:
        work = units(cell.workload, amounts)
        trial = seconds = sum(rate.stages.get(name, 0.0) * unit for name, unit in work.items())
    return Prediction(seconds, blocks * (trial + rate.once + LAUNCH_SECONDS), basis)


def _rate(cell: Cell, rates: Rates) -> tuple[Rate, str]:
    key = (
        cell.workload, cell.backbone, cell.engine, cell.device, cell.precision, cell.threads,
        cell.batch_size, cell.size,
    )  # fmt: skip
    if key in rates.known:
        return rates.known[key], "measured"
    # Same workload, engine, device, precision and threads; the nearest backbone and size.
    alike = [k for k in rates.known if (k[0], *k[2:6]) == (key[0], *key[2:6])]
    # All of full's engines train in PyTorch: another one of them is nearer than FLOPs alone.
    if not alike and cell.workload == "full":
        alike = [k for k in rates.known if (k[0], k[3], k[5]) == (key[0], key[3], key[5])]
    if alike:
        near = min(alike, key=lambda k: (_arch(k[1]) != _arch(cell.backbone), k[1] != cell.dense))
        ratio = flops(cell.backbone, cell.size) / flops(near[1], int(near[7]))
        ratio *= cell.batch_size / near[6] if cell.workload == "inference" else 1.0
        known = rates.known[near]
        stages = {n: s * (ratio if n in _COMPUTES else 1.0) for n, s in known.stages.items()}
        return Rate(stages, known.once), "scaled"
    return _guess(cell), "guessed"


def _guess(cell: Cell) -> Rate:
    picture = 2 * flops(cell.backbone, cell.size) / (GUESSED_FLOPS * cell.threads)
    small = GUESSED_PICTURE_SECONDS
    stages = {
        "call": picture * cell.batch_size,
        "extract": picture,
        "forward": picture,
        "backward": picture * (TRAINING_PASSES - 1),
        "evaluate": picture if cell.workload != "linear-cached" else 0.0,
        "decode": small,
        "augment": small,
        "head": 1e-5,
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
    from models.architectures import build
    from models.costs import count_costs, total_cost
    from models.sources.onnx_file import load_onnx
    from models.zoo import find_card

    if is_onnx_name(backbone):
        try:
            return float(total_cost(load_onnx(backbone).costs(size)).macs)
        except SparsebenchError:
            return GUESSED_MACS
    module = build(find_card(backbone).arch, 10)
    return float(total_cost(count_costs(module, (3, size, size))).macs)
