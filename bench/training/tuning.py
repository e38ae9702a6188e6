"""How the trainings of a job run: tried out by the first of them, the same for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.calibrate import (
    Choice,
    cost_of_determinism,
    fastest,
    name_of,
    prepare,
)
from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.heartbeat import Heartbeat
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.kernels import (
    Layers,
    choose_layers,
    compare_whole,
    kernels_ready,
    use_layers,
)
from sparsebench.bench.training.losses import steps_between_fetches
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.rehearse import needs_rehearsal, rehearse
from sparsebench.bench.training.source import TrainingData


class Tuning:
    """What was found so far.

    Args:
        job: what the process was told; what an earlier block found holds for the whole run,
            for blocks differ in nothing but time.
        beat: told what is being done, and of every step that is tried out.
        tell: told facts of all trainings together, as keyword arguments.
        group: the processes of the training: all try out at the same time, each its own copy of
            the network on a batch as large as its part; what the first finds holds for all.
    """

    def __init__(
        self,
        job: Job,
        beat: Heartbeat,
        tell: Callable[..., None],
        group: Group | None = None,
    ) -> None:
        self._group = group
        self._job, self._beat, self._tell = job, beat, tell
        self.asked = Execution(
            device=job.device,
            precision=job.precision,
            compile=job.compile,
            kernels=job.kernels,
            accumulate=job.accumulate,
            threads=job.threads,
            deterministic=job.deterministic,
            losses_every=steps_between_fetches(job.device),
        )
        # A step's time over that of one with any kernels; None where it is not known.
        self.deterministic_cost: float | None = None
        self._layers: Layers = {}
        self._how: Execution | None = None
        if found := job.tuned:
            self._layers = found["layers"]
            self.deterministic_cost = found.get("deterministic_cost")
            self._how = replace(
                self.asked,
                channels_last=found["channels_last"],
                products=found.get("products", False),
                kernels=found["kernels"],
                graphs=found.get("graphs", False) and self.asked.may_have_graphs,
            )
            tell(tuned_in_block=found["block"])

    def settle(
        self, network: Network, data: TrainingData, clock: StageClock
    ) -> tuple[Network, Execution, float]:
        """The network as it will be trained, and how.

        Args:
            network: as loaded.
            data: images.
            clock: of the training; stands still while things are tried out and compiled.

        Returns:
            The network to train, its execution and the seconds of compiling.
        """
        job, compiling = self._job, 0.0
        with clock.paused():
            if job.kernels:
                network, compiling = self._on_kernels(network, data)
            elif self._how is None and job.tune:
                self._beat.say("trying out forms of the step" + " and graphs" * self.asked.on_gpu)
                self._take(self._fastest(network, data))
        how = self._how = self._how or self.asked
        with clock.stage("load"):
            prepare(network, how)
        if needs_rehearsal(how):
            self._beat.say("preparing for the sizes of batches")
            with clock.paused():
                compiling += rehearse(network, data, job.recipe, how, beat=self._beat)
        if how.deterministic and job.tune and self.deterministic_cost is None:
            self._beat.say("trying out what determinism costs")
            with clock.paused():
                self.deterministic_cost = cost_of_determinism(
                    network, data, job.recipe, how, beat=self._beat
                )
        return network, how, compiling

    def _on_kernels(self, dense: Network, data: TrainingData) -> tuple[Network, float]:
        job = self._job
        if self._how and not self._how.kernels:  # found already: PyTorch is faster as a whole
            self._tell(layers=self._layers)
            return dense, 0.0
        self._beat.say("compiling the kernels")
        kernels_ready()  # once for this machine: the compiled file is kept
        began = time.perf_counter()
        network = dense.with_kernels(job.threads, job.precision)
        took = time.perf_counter() - began
        if not self._layers:
            self._beat.say("trying out layers")
        self._layers = self._layers or choose_layers(network, data, job)
        use_layers(network, self._layers)
        self._tell(layers=self._layers)
        if self._how is None and job.tune:
            self._take(compare_whole(dense, self._layers, data, job, self.asked, self._beat))
        if self._how and not self._how.kernels:
            return dense, 0.0
        return network, took

    def _fastest(self, network: Network, data: TrainingData) -> Choice:
        recipe, graphs = self._job.recipe, None
        if self._group is not None:  # no graph holds what processes tell each other
            graphs = False
            recipe = replace(recipe, batch_size=max(2, self._group.smallest(recipe.batch_size)))
        return fastest(network, data, recipe, self.asked, graphs=graphs, beat=self._beat)

    def _take(self, choice: Choice | None) -> None:
        if choice is None:
            self._how = self.asked
            return
        if self._group is not None:
            choice = self._group.of_first(choice)
        self._how = choice.execution
        self._tell(tuning={**asdict(choice), "execution": name_of(choice.execution)})
