"""Full fine-tuning of a network: every non-zero weight trains, the mask stays.

The recipe is the paper's (its script ``main.py``): random crops and mirror images, SGD with
momentum and weight decay on everything, batch norm in training mode; see
:mod:`sparsebench.bench.training.recipe`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.heartbeat import Beat, silent
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.steps import StepRunner
from sparsebench.bench.training.trained import Epoch, Trained
from sparsebench.models.errors import SparsebenchError


def train_network(
    network: Network,
    data: TrainingData,
    recipe: TrainRecipe,
    execution: Execution,
    *,
    seed: int,
    clock: StageClock | None = None,
    say: Callable[[str], None] | None = None,
    beat: Beat = silent,
    group: Group | None = None,
) -> Trained:
    """Train, choose, evaluate.

    Stages of the clock: ``augment`` (waiting for images), ``forward``, ``backward``,
    ``optimizer``, ``evaluate``, and ``capture`` with CUDA graphs.

    Args:
        network: trained in place; its mask stays as it is.
        data: images.
        recipe: of the optimizer.
        execution: how it runs.
        seed: order of the images and crops.
        clock: that began with the loading; a new one by default.
        say: told after every epoch.
        beat: told after every step and every batch of an evaluation.
        group: the processes that share every batch; each of them calls this.

    Raises:
        SparsebenchError: the loss diverged (says where and at which rate), or a pruned weight
            came back.
    """
    clock = clock or StageClock()
    runner = StepRunner(network, data, recipe, execution, clock, beat=beat, group=group)
    epochs: list[Epoch] = []
    best, best_epoch, best_state = -1.0, recipe.epochs - 1, None
    for number in range(recipe.epochs):
        loss = runner.epoch(number, seed)
        validation = None
        with clock.stage("evaluate"):
            if len(data.validation):
                validation = runner.accuracy(data.validation)
                # The last epoch needs no copy, and an equal later one is not better.
                if validation > best:
                    best, best_epoch = validation, number
                    last = number == recipe.epochs - 1
                    best_state = None if last else copy.deepcopy(network.module.state_dict())
        epochs.append(Epoch(clock.total, loss, validation))
        if say:
            shown = "" if validation is None else f", validation {validation:.1%}"
            say(f"epoch {number + 1}/{recipe.epochs}, loss {loss:.3f}{shown}")
    with clock.stage("evaluate"):
        found = runner.predicted(data.test)
        final = data.objective.score(data.test, found, data.metric)
    clock.stop()
    facts = _mask_facts(network)
    if runner.without_graphs:
        facts["without_graphs"] = runner.without_graphs
    if runner.shared is not None:
        facts["communication"] = runner.shared.communication()
    chosen = final
    if best_state is not None:  # beside the clock: nobody needs both
        network.module.load_state_dict(best_state)
        chosen = runner.accuracy(data.test)
    return Trained(
        seed=seed,
        seconds=clock.total,
        stages=clock.seconds,
        busy=clock.busy_seconds,
        epochs=tuple(epochs),
        last=final,
        best=chosen,
        best_epoch=best_epoch,
        facts=facts,
        process_seconds=clock.process_seconds,
        run_delay_seconds=clock.run_delay_seconds,
        **data.objective.kept(data.test, found, seed),
    )


def _mask_facts(network: Network) -> dict[str, Any]:
    """Proof that no pruned weight came back.

    Raises:
        SparsebenchError: one did.
    """
    if not network.masked:
        return {"after_training_mask": None}
    revived = network.revived()
    if revived:
        raise SparsebenchError(f"{revived} pruned weights came back in the training.")
    return {"after_training_mask": network.backbone_mask_hash()}
