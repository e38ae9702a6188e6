"""Full fine-tuning on the suite's own kernels: compiled, sparse or dense layer by layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.heartbeat import Beat, silent
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.steps import StepRunner
from sparsebench.exporters.kernels.training.module import SparseModule

if TYPE_CHECKING:
    from sparsebench.bench.training.calibrate import Choice

Layers = dict[str, dict[str, Any]]


def kernels_ready() -> None:
    """Compile the kernels, or find them compiled.

    Raises:
        SparsebenchError: there is no compiler, or it fails.
    """
    from sparsebench.exporters.kernels.compiled.library import library

    library("float32").prepare()


def choose_layers(network: Network, data: TrainingData, job: Job) -> Layers:
    """Which layers run faster sparse, which dense: measured on a batch of the training.

    Args:
        network: on the kernels; left as it is, but for the choice.
        data: images.
        job: ``tune`` off keeps every layer sparse.

    Returns:
        Layer -> ``execution``, ``density``, ``sparse_seconds``, ``dense_seconds``, ``forward``,
        ``why_not``, ``backward``.
    """
    from sparsebench.exporters.kernels.training.choice import choose_executions

    if not job.tune:
        return {}
    runner = StepRunner(network, data, job.recipe, Execution(threads=job.threads), StageClock())
    images, _ = runner.some_batch()
    choices = [choice.to_json() for choice in choose_executions(_module(network), images)]
    return {choice.pop("layer"): choice for choice in choices}


def use_layers(network: Network, layers: Layers) -> None:
    """Run the layers of a network as chosen."""
    module = _module(network)
    known = module.convolutions() | module.linears()
    for name, choice in layers.items():
        known[name].execution = choice["execution"]


def compare_whole(
    dense: Network,
    layers: Layers,
    data: TrainingData,
    job: Job,
    execution: Execution,
    beat: Beat = silent,
) -> Choice | None:
    """Whether a network with few zeros trains faster on the kernels or on PyTorch alone.

    Layer by layer the kernels may win and still lose as a whole: PyTorch converts no layouts
    where all layers are its own.

    Args:
        dense: the network in PyTorch; left as it is.
        layers: how its layers would run on the kernels.
        data: images.
        job: its recipe and threads count.
        execution: on the kernels.
        beat: told of every step that is tried out.

    Returns:
        None where at least half of the backbone's weights are zero, and nothing needs comparing.
    """
    from sparsebench.bench.training.calibrate import fastest

    kept = sum(int(mask.sum()) for mask in dense.mask.values())
    if kept < 0.5 * sum(mask.numel() for mask in dense.mask.values()):
        return None
    twin = dense.with_kernels(job.threads, job.precision)
    use_layers(twin, layers)
    plain = replace(execution, kernels=False)
    return fastest(dense, data, job.recipe, plain, [(twin, execution)], beat=beat)


def _module(network: Network) -> SparseModule:
    assert isinstance(network.module, SparseModule)
    return network.module
