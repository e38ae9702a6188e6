"""What stands below a table of networks that are scored as they are."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.bench.present.tables.own_head import own_head_notes
from tests.bench.synthetic import make_run


def test_detectors_that_are_scored_as_they_are_are_named_with_the_order_of_their_classes() -> None:
    """The number of classes alone tells that they are the task's; another order scores nothing."""
    record = make_run().records[0]
    scores = {"ap_per_class": {"wolf": [0.5], "bear": [0.4]}}
    own = replace(record, extra={"head": {"kind": "own"}, "detection": scores})
    trained = replace(record, extra={"head": {"kind": "yolo"}, "detection": scores})
    (said,) = own_head_notes([own, own])
    assert said.count(record.backbone.name) == 1
    assert "No head was trained" in said and said.endswith("in this order: wolf, bear.")
    assert own_head_notes([trained]) == []
