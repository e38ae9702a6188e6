"""How amounts are said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import sentinel

import pytest

from sparsebench.bench.decide.answers import Standing
from sparsebench.bench.present.decisions.amounts import odds

ONE = Standing(candidate=sentinel.candidate, odds=None, accuracy="not shown", claim=None)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (None, "unknown"),
        ((0.4, 0.4), "40 %"),
        ((0.0968, 0.0968000001), "9.68 %"),  # seen: "probability 9.68 % to 9.68 %"
        ((0.2, 0.9), "20 % to 90 %"),
        ((0.0, 0.3), "at most 30 %"),
        ((0.0, 0.0004), "below 0.1 %"),
    ],
)
def test_the_odds_of_several_tasks_are_bounds_where_they_differ(bounds: Any, said: str) -> None:
    assert odds(replace(ONE, odds=bounds)) == said
