"""The machine of a record: a GPU's name stands in those that it computed."""

from __future__ import annotations

from sparsebench.bench.run.build_records import _machine
from tests.pretended_gpu import pretended_gpu


def test_records_of_a_gpu_name_it_and_others_do_not() -> None:
    _machine.cache_clear()
    try:
        with pretended_gpu():
            assert _machine("cuda")["gpus"] == ["a pretended GPU"]
            assert _machine("cpu")["gpus"] is None
    finally:
        _machine.cache_clear()
