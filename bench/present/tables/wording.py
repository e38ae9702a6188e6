"""The sentences around the tables."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.decide.licences import engine_facts
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import PER_SECOND, Row, Section
from sparsebench.bench.records import SEEDS, Record
from sparsebench.bench.statistics import SMALLEST_EFFECT_OF_INTEREST
from sparsebench.bench.tasks.kinds import CLASSIFIED, DETECTION, word_of
from sparsebench.models.images.losses import Losses

DEEPSPARSE = "deepsparse"
DEEPSPARSE_WARNING = (
    "DeepSparse's licence allows evaluation, not production, and its development ended in "
    "June 2025: read its speed as what sparsity can give, not as something to deploy."
)
SPEED_ONLY = "speed only"
BEST_DENSE = "best dense"
REFERENCE = "reference"  # what totals are against where no dense cell has an interval
BASELINE = "baseline"
# Titles of columns.
CHANGE = "accuracy change (pp)"
SAME_ENGINE = "vs dense, same engine"
BEST_ENGINE = "vs best dense engine"
MINIMUM_EFFECT = "min. detectable effect"


def speed_header(section: Section) -> str:
    """What the speed column shows."""
    return PER_SECOND if section.throughput else "seconds"


def caption(section: Section) -> str:
    """One line under a table: what its speeds are."""
    what = section.caption.rstrip(".")
    return f"{what}; ± between blocks, most of which cancels in a ratio inside a block."


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
    covered = {row.accuracy.over for section in found for row in section.rows if row.accuracy}
    over = "test images and training seeds"
    if covered == {SEEDS}:
        over = "training seeds alone (the run did not keep which test images were right)"
    elif SEEDS in covered:
        over += ", of older cells over seeds alone"
    word = word_of(row.record.task.metric for section in found for row in section.rows)
    scores = word.replace(CLASSIFIED, "accuracies")
    smallest = f"{SMALLEST_EFFECT_OF_INTEREST * 100:.0f}%"
    text = (
        "How to read it: every number has a 95% confidence interval: of times over blocks "
        f"(launches in fresh processes), of {scores} over {over}. The {word} change is in "
        "percentage points against the dense baseline. 'vs dense, same engine': the dense "
        "baseline's time over the sparse one's on the same engine, the effect of sparsity alone. "
        "'vs best dense engine': the fastest dense engine's time over this one's, what changing "
        "to this engine and backbone brings. The verdict is on 'vs dense, same engine': better or "
        "worse (significantly) when the interval, corrected for all comparisons of the run (Holm), "
        f"excludes 1 and the effect exceeds {smallest}; tied when the whole interval lies within "
        f"{smallest}; otherwise inconclusive. The minimum detectable effect (MDE) is the smallest "
        "effect that a run of this noise usually finds."
    )
    if any(
        row.record.task.metric in DETECTION.metrics for section in found for row in section.rows
    ):
        text += (
            " mAP50 is the mean average precision of the boxes at an IoU of 0.5, as COCO counts "
            "it; mAP50-95 the mean over ten IoUs up to 0.95. Their intervals redraw the images."
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
    good = [record.engine for record in records if record.status == "ok"]
    texts = [
        *map(warning_of, dict.fromkeys(engine.name for engine in good)),
        *(f"{engine.not_itself}." for engine in good if not engine.runs_itself),
    ]
    return [*(text for text in dict.fromkeys(texts) if text), *_images_left_out(records)]


def _images_left_out(records: Sequence[Record]) -> list[str]:
    """A sentence for each task that lost images: of which classes, and of what kind."""
    found = {r.task.name: data for r in records if (data := r.extra.get("task_left_out"))}
    return [
        f"Images of {task} were left out: {'; '.join(Losses.of_json(data).lines())}."
        for task, data in found.items()
    ]
