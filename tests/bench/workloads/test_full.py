"""What a block of full fine-tuning is told of earlier ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sparsebench.bench.workloads.full import _found_earlier


def found(*extras: dict[str, Any]) -> dict[str, Any]:
    trials = [SimpleNamespace(block=block, extra=extra) for block, extra in enumerate(extras)]
    context = SimpleNamespace(earlier=lambda cell: trials)
    return _found_earlier(cast(Any, SimpleNamespace(cell=None)), cast(Any, context))


def test_a_block_runs_as_the_first_that_calibrated_found_it_fastest() -> None:
    graphs = {"channels_last": True, "products": True, "kernels": False, "graphs": True}
    told = found({}, {"execution": graphs}, {"execution": {**graphs, "graphs": False}})
    assert told == {"block": 1, **graphs, "layers": {}}


def test_a_run_that_was_begun_before_a_form_existed_goes_on_without() -> None:
    told = found({"execution": {"channels_last": False, "kernels": False}})
    assert told["graphs"] is False and told["products"] is False
