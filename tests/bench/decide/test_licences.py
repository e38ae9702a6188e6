"""What an engine allows has one source, its class; a record's text is no permission."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparsebench.bench.decide import engine_facts
from sparsebench.bench.present.tables.wording import warning_of
from sparsebench.exporters.engines import BUILTIN
from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine
from tests.bench.decide.made import cell

MADE = cell("dense", "torch", (1e-3,), (90.0,))


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_engine_of_ours_says_whether_production_is_allowed(name: str) -> None:
    facts = engine_facts(name)
    assert facts.production is (name != "deepsparse")
    assert facts.licence and facts.support
    assert bool(warning_of(name)) == (facts.production is False)


def test_a_licence_text_decides_nothing() -> None:
    told = replace(MADE, extra={"engine": {"licence": "not production", "support": "ended"}})
    facts = engine_facts("torch", [told])
    assert (facts.production, facts.licence, facts.support) == (True, "not production", "ended")
    assert engine_facts("of-somebody-else").production is None


def test_the_class_attribute_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxRuntimeEngine, "production", False)
    assert engine_facts("onnxruntime").production is False
    assert warning_of("onnxruntime") == "The licence of onnxruntime does not allow production."
