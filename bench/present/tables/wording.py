"""The sentences around the tables."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.decide.licences import engine_facts
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import Row, Section
from sparsebench.bench.records import Record
from sparsebench.bench.statistics import SMALLEST_EFFECT_OF_INTEREST

DEEPSPARSE = "deepsparse"
DEEPSPARSE_WARNING = (
    "DeepSparse's licence allows evaluation, not production, and its development ended in "
    "June 2025: read its speed as what sparsity can give, not as something to deploy."
)
SPEED_ONLY = "speed only"
UNTRAINED = f"{SPEED_ONLY}: generated weights"
BEST_DENSE = "best dense"
PARTNER = "dense"


def speed_header(section: Section) -> str:
    """What the speed column shows."""
    return "pictures/s" if section.throughput else "seconds"


def caption(section: Section) -> str:
    """One line under a table: what its speeds are."""
    if section.throughput:
        return "pictures/s: throughput of the engine on full batches."
    return "seconds: end to end, from loading the pictures to the evaluated classifier."


def seen_words(row: Row) -> str:
    """The smallest effect on which this run would usually have given a verdict."""
    if row.comparison is None or row.speedup is None:
        return ""
    seen = row.comparison.smallest_effect
    if seen is None:
        return "none"
    return numbers.share(max(seen, SMALLEST_EFFECT_OF_INTEREST))


def how_to_read(found: Sequence[Section]) -> str:
    """The sentences under the tables."""
    smallest = f"{SMALLEST_EFFECT_OF_INTEREST * 100:.0f}%"
    text = (
        "How to read it: behind every number is its 95% interval, of times over blocks (launches "
        "in fresh processes), of accuracies over training seeds; change is in percentage points "
        "against the dense partner. 'Same engine': the dense partner's time over the sparse "
        "one's on the same engine, the effect of sparsity alone. 'Best dense': the fastest dense "
        "engine's time over this one's, what changing to this engine and backbone brings. The "
        "verdict is on 'same engine': better or worse (significantly) when the interval, corrected "
        f"for all comparisons of the run (Holm), excludes 1 and the effect exceeds {smallest}; "
        f"tied when all of the interval lies within {smallest}; else inconclusive. 'Sees' is the "
        "smallest effect that a run of this noise usually finds."
    )
    if any(not row.record.backbone.trained for section in found for row in section.rows):
        text += " Speed only: the weights are generated, so there is no accuracy to speak of."
    return text


def warning_of(engine: str) -> str:
    """What must stand beside the numbers of an engine; empty for most."""
    if engine == DEEPSPARSE:
        return DEEPSPARSE_WARNING
    forbids = engine_facts(engine).production is False
    return f"The licence of {engine} does not allow production." if forbids else ""


def warnings(records: Sequence[Record]) -> list[str]:
    """What must stand beside the numbers of this run."""
    used = dict.fromkeys(record.engine.name for record in records if record.status == "ok")
    return [text for text in map(warning_of, used) if text]
