"""Which way of running a training step is the fastest here: tried out, interleaved, recorded.

On a CPU the least processor time decides: wall time of three disturbed rounds once chose a layout
that was 11-15 % slower. A GPU works beside the process, so there the median wall time does.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median

import torch
from torch import Tensor, nn

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.execution import Execution, strictness
from sparsebench.bench.training.heartbeat import Beat, silent
from sparsebench.bench.training.losses import mean_loss
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.objective import Targets
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.steps import StepRunner
from sparsebench.models.cuda_graphs import Capture, first_line
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.matrix_products import has_products, use_matrix_products
from sparsebench.models.memory_format import channels_last_is_safe

ROUNDS = 5
# A GPU is not waited for in every step of a training, so it is not here.
_GPU_STEPS = 5
# Losses of the first steps may differ by rounding alone, more so in bf16.
_TOLERANCE = {"fp32": 1e-2, "bf16": 0.1}


@dataclass(frozen=True)
class Choice:
    """What the calibration found.

    Attributes:
        execution: the fastest correct one.
        seconds: name of each -> median seconds of a step.
        processor_seconds: name of each -> least processor seconds of a step, of all threads.
        margin: how many times as long the next best takes, by what decides; None: it is alone.
        rejected: name -> why its results are not trusted.
        took: seconds of the calibration; a one-off cost.
    """

    execution: Execution
    seconds: dict[str, float]
    processor_seconds: dict[str, float]
    margin: float | None
    rejected: dict[str, str]
    took: float


def fastest(
    network: Network,
    data: TrainingData,
    recipe: TrainRecipe,
    plain: Execution,
    rivals: Sequence[tuple[Network, Execution]] = (),
    *,
    graphs: bool | None = None,
    capture: Capture | None = None,
    beat: Beat = silent,
) -> Choice:
    """Try forms of PyTorch and rivals on real batches, in turns; take the fastest correct one.

    Then, on a GPU, the better memory format with graphs beside the same without. The network is
    left as it was.

    Args:
        network: to train; in memory in the plain format.
        data: images.
        recipe: its batch size counts.
        plain: the execution without anything special; device, precision, threads and
            compilation stay as they are.
        rivals: the same network made for other executions; steps are tried out on them.
        graphs: whether graphs are tried, where the execution may have them; by default on a GPU.
        capture: makes graphs; PyTorch's by default.
        beat: told of every step that is tried out.
    """
    began = time.perf_counter()
    candidates = candidates_for(network.module, plain)
    trial = _Trial(plain, beat)
    runners = {}
    for name, execution in candidates.items():
        twin = copy_of(network, execution)
        runners[name] = StepRunner(twin, data, recipe, execution, StageClock())
    for rival, execution in rivals:
        candidates[name_of(execution)] = execution
        runners[name_of(execution)] = StepRunner(rival, data, recipe, execution, StageClock())
    with _own_randomness(plain):
        images, targets = runners[name_of(plain)].some_batch()
        trial.rounds(runners, images, targets)
        best = trial.best(name_of(plain))
        # Only full batches are replayed. A graph keeps its memory to itself, so it comes after
        # those that it could crowd out, and counts only if an ordinary step fits beside it, as
        # the last batch of an epoch must.
        wanted = plain.on_gpu if graphs is None else graphs
        full = len(images) == recipe.batch_size
        if wanted and full and candidates[best].may_have_graphs and best in trial.seconds:
            graphed = replace(candidates[best], graphs=True)
            name = name_of(graphed)
            candidates[name] = graphed
            twin = copy_of(network, graphed)
            runner = StepRunner(twin, data, recipe, graphed, StageClock(), capture=capture)
            trial.beside(name, runner, best, runners[best], images, targets)
            best = trial.best(best)
    costs = sorted(trial.costs().values())
    return Choice(
        candidates[best],
        {name: median(times) for name, times in trial.seconds.items()},
        {name: min(trial.processor[name]) for name in trial.seconds},
        costs[1] / costs[0] if len(costs) > 1 else None,
        trial.rejected,
        time.perf_counter() - began,
    )


def candidates_for(module: nn.Module, plain: Execution) -> dict[str, Execution]:
    """Name of each form in which `module` may train with PyTorch -> its execution."""
    forms = [plain]
    if channels_last_is_safe(module, plain.device):
        forms.append(replace(plain, channels_last=True))
        if not plain.on_gpu and has_products(module):
            forms.append(replace(plain, channels_last=True, products=True))
    return {name_of(one): one for one in forms}


def cost_of_determinism(
    network: Network,
    data: TrainingData,
    recipe: TrainRecipe,
    execution: Execution,
    *,
    beat: Beat = silent,
) -> float | None:
    """A step's time over that of the same step with whatever kernels are fastest, in turns.

    Args:
        network: to train, in the memory format of `execution`; left as it was.
        data: images.
        recipe: its batch size counts.
        execution: how it trains, with deterministic kernels.
        beat: told of every step that is tried out.

    Returns:
        The ratio of the medians; None where one of them cannot be had beside the training.
    """
    trial = _Trial(execution, beat)
    runners = {}
    for one in (execution, replace(execution, deterministic=False)):
        name = "deterministic kernels" if one.deterministic else "any kernels"
        runners[name] = StepRunner(copy_of(network, one), data, recipe, one, StageClock())
    with _own_randomness(execution):
        images, targets = next(iter(runners.values())).some_batch()
        trial.rounds(runners, images, targets)
    if trial.rejected:
        return None
    strict, free = (median(trial.seconds[name]) for name in runners)
    return strict / free


def name_of(execution: Execution) -> str:
    """A short name of what differs between the candidates."""
    if execution.kernels:
        return "kernels"
    name = "channels-last" if execution.channels_last else "contiguous"
    name += " products" * execution.products
    return f"{name} graphs" if execution.graphs else name


def copy_of(network: Network, execution: Execution) -> Network:
    """A copy that may be trained without touching the original."""
    twin = copy.deepcopy(network)
    prepare(twin, execution)
    return twin


def prepare(network: Network, execution: Execution) -> None:
    """Bring a network into the form in which `execution` trains it, in place."""
    if execution.channels_last:
        network.module.to(memory_format=torch.channels_last)
    if execution.products:
        use_matrix_products(network.module)


@dataclass
class _Trial:
    """Steps tried out: wall and processor seconds of each, why some are not trusted."""

    plain: Execution
    beat: Beat
    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)

    def rounds(self, runners: dict[str, StepRunner], images: Tensor, targets: Targets) -> None:
        """In turns, so that a drift of the machine weighs on all alike."""
        steps = _GPU_STEPS if self.plain.on_gpu else 1
        running = dict(runners)
        for number in range(1 + ROUNDS):
            for name, runner in list(running.items()):
                self.beat(f"trying out {name}, round {number}/{ROUNDS}")
                try:
                    with strictness(runner.execution):
                        if number == 0:  # not timed: first calls allocate and compile
                            self._first(runner, images, targets)
                            continue
                        wall, processor = self._timed(runner, images, targets, steps)
                    self.seconds.setdefault(name, []).append(wall)
                    self.processor.setdefault(name, []).append(processor)
                except (RuntimeError, MemoryError, SparsebenchError) as error:
                    self.rejected[name] = first_line(error)
                    del running[name]
        for name in self.rejected:
            self.seconds.pop(name, None)

    def beside(
        self,
        name: str,
        runner: StepRunner,
        known: str,
        proven: StepRunner,
        images: Tensor,
        targets: Targets,
    ) -> None:
        """In turns with one that was tried out before, which must not suffer from it."""
        found = list(self.seconds[known])
        self.rounds({name: runner, known: proven}, images, targets)
        if known in self.rejected:
            reason = self.rejected.pop(known)
            self.seconds.pop(name, None)
            self.seconds[known] = found
            self.rejected[name] = f"beside it an ordinary step fails: {reason}"

    def costs(self) -> dict[str, float]:
        """What decides, seconds, of each that is trusted."""
        if self.plain.on_gpu:
            return {name: median(times) for name, times in self.seconds.items()}
        return {name: min(self.processor[name]) for name in self.seconds}

    def best(self, otherwise: str) -> str:
        """Name of the fastest that is trusted."""
        costs = self.costs()
        return min(costs, key=costs.__getitem__) if costs else otherwise

    def _timed(
        self, runner: StepRunner, images: Tensor, targets: Targets, steps: int
    ) -> tuple[float, float]:
        """Wall and processor seconds of a step, the mean of several."""
        start, spent = time.perf_counter(), time.process_time()
        for _ in range(steps):
            # At a rate of 0 every round computes the same.
            runner.step(runner.to_device(images), targets, 0.0)
        self._wait()
        return (time.perf_counter() - start) / steps, (time.process_time() - spent) / steps

    def _first(self, runner: StepRunner, images: Tensor, targets: Targets) -> None:
        runner.network.module.train()
        images = runner.to_device(images)
        runner.capture(images)
        torch.manual_seed(0)  # networks with dropout compute the same too
        self._compare("loss", mean_loss(runner.step(images, targets, 0.0)))
        if not runner.execution.kernels:  # they have no gradients of pruned weights
            self._compare("gradient's norm", gradient_norm(runner.network.module))

    def _compare(self, what: str, found: float) -> None:
        first = self.first.setdefault(what, found)
        if not abs(found - first) <= _TOLERANCE[self.plain.precision] * abs(first):
            raise SparsebenchError(f"its {what} {found:g} is not {first:g}")

    def _wait(self) -> None:
        if self.plain.on_gpu:
            torch.cuda.synchronize()


def gradient_norm(module: nn.Module) -> float:
    """Euclidean, of all parameters' gradients together."""
    gradients = [p.grad.detach() for p in module.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


@contextmanager
def _own_randomness(execution: Execution) -> Iterator[None]:
    """What is tried out draws nothing that the training would draw."""
    devices = [torch.cuda.current_device()] if execution.on_gpu else []
    with torch.random.fork_rng(devices=devices):
        yield
