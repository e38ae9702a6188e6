"""Recompute the points and intervals of a run from its files, with none of the suite's code.

    uv run python -m sparsebench.results.scripts.recompute RUN

It reads ``records.jsonl``, ``trials.jsonl`` and the files that say which test images were right
(of boxes what was found on them, see ``redrawn.py``), works each number out again with NumPy and
SciPy alone, and prints it beside that of ``comparisons.jsonl``; exit code 1 where one differs.
Speed-ups are paired by block, with the t-interval of the blocks' log-ratios; the suite's interval
is that or, where the samples inside the blocks scatter more, a wider one. Inference is left out
where it took turns in visits, whose common disturbance the suite takes out first.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sparsebench.results.scripts.redrawn import IOUS, score_and_change

Ends = tuple[float, float]

SINGLE_PRECISION = 2 * 2**-18
"""Points by which the difference of two numbers between 64 and 128 can be off in 32 bits; the
library that a run's mean average precision comes from rounds it so."""


@dataclass(frozen=True)
class Number:
    """One number, recomputed and as the run states it; an interval is None where there is none."""

    name: str
    point: float
    ends: Ends | None
    stated: float
    stated_ends: Ends | None
    may_be_wider: bool = False
    rounding: float = 1e-9

    @property
    def agrees(self) -> bool:
        """Whether both are the same up to rounding."""
        if not math.isclose(self.point, self.stated, rel_tol=1e-6, abs_tol=self.rounding):
            return False
        if self.ends is None or self.stated_ends is None:
            return self.ends is self.stated_ends is None
        (low, high), (below, above) = self.ends, self.stated_ends
        if self.may_be_wider and below <= low * (1 + 1e-6) and above >= high * (1 - 1e-6):
            return True
        return bool(np.allclose((low, high), (below, above), rtol=1e-6, atol=self.rounding))


def recompute(run: Path) -> Iterator[Number]:
    """Every speed-up and accuracy change of a run."""
    records = {line["id"]: line for line in _lines(run / "records.jsonl")}
    trials = {(t["cell"], t["block"], t["launch"]): t for t in _lines(run / "trials.jsonl")}
    good = [trial for trial in trials.values() if trial["status"] == "ok"]
    for comparison in _lines(run / "comparisons.jsonl"):
        if comparison["status"] != "ok":
            continue
        sides = [records[comparison[side]] for side in ("sparse", "dense")]
        name = f"{comparison['workload']} {sides[0]['backbone']['name']}"
        ours, theirs = ([t for t in good if t["cell"] == side["id"]] for side in sides)
        if not any("visits" in trial["extra"] for trial in (*ours, *theirs)):
            speedup = comparison["speedup"]
            point, ends = _speedup(ours, theirs)
            stated = None if speedup["ci95"] is None else tuple(speedup["ci95"])
            yield Number(f"{name}: speed-up", point, ends, speedup["median"], stated, True)
        delta = comparison["accuracy_delta"]
        if delta is None or comparison["accuracy_from"] or not all(s["accuracy"] for s in sides):
            continue
        if sides[0]["accuracy"]["metric"] in IOUS:
            yield from _boxes(run, name, sides, delta)
            continue
        seeds, both = _change(run, *(side["accuracy"] for side in sides))
        stated = None if delta["ci95"] is None else tuple(delta["ci95"])
        over = delta.get("over", "seeds") == "images and seeds"
        if over != (both is not None):
            raise SystemExit(f"{name}: the run says {delta.get('over')}, its files do not")
        mean = float(np.mean(seeds))
        yield Number(f"{name}: change", mean, both or _t(seeds), delta["mean"], stated)


def _boxes(run: Path, name: str, sides: list[Any], delta: Any) -> Iterator[Number]:
    """Scores of both sides and their change, of a detection task."""
    accuracies = [side["accuracy"] for side in sides]
    found, known = score_and_change(run, *accuracies)
    if known != (delta.get("over") == "images and seeds"):
        raise SystemExit(f"{name}: the run says {delta.get('over')}, its files do not")
    stated = {key: (100 * one["mean"], one["ci95"] and [100 * end for end in one["ci95"]])
              for key, one in zip(("sparse", "dense"), accuracies, strict=True)}  # fmt: skip
    stated["change"] = delta["mean"], delta["ci95"]
    for key, (point, ends) in found.items():
        said, said_ends = stated[key]
        label = "change" if key == "change" else f"{accuracies[0]['metric']} of {key}"
        ends_said = tuple(said_ends) if said_ends else None
        yield Number(f"{name}: {label}", point, ends, said, ends_said, rounding=SINGLE_PRECISION)


def _speedup(sparse: list[Any], dense: list[Any]) -> tuple[float, Ends | None]:
    logs = []
    for block in sorted({t["block"] for t in sparse} & {t["block"] for t in dense}):
        a, b = ([t for t in side if t["block"] == block] for side in (dense, sparse))
        common = {t["launch"] for t in a} & {t["launch"] for t in b}
        if common:
            dense_log, sparse_log = (
                _level([t for t in x if t["launch"] in common]) for x in (a, b)
            )
            logs.append(dense_log - sparse_log)
    ends = _t(logs) if len(logs) >= 3 else None
    return math.exp(np.mean(logs)), None if ends is None else (math.exp(ends[0]), math.exp(ends[1]))


def _level(trials: list[Any]) -> float:
    """Mean over trials of the log of the median seconds an item."""
    return float(np.mean([np.log(np.median(t["seconds"]) / t["items"]) for t in trials]))


def _change(run: Path, sparse: Any, dense: Any) -> tuple[list[float], Ends | None]:
    """Differences of the seeds in points, and the interval over images and seeds if it is known."""
    per_seed = [dict(zip(s["seeds"], s["per_seed"], strict=True)) for s in (sparse, dense)]
    seeds = [seed for seed in per_seed[0] if seed in per_seed[1]]
    differences = [100 * (per_seed[0][seed] - per_seed[1][seed]) for seed in seeds]
    answers = [_answers(run, side) for side in (sparse, dense)]
    if not all(answers) or len(seeds) < 2:
        return differences, None
    labels = answers[0].pop("labels")
    answers[1].pop("labels")
    values = 100 * np.array([answers[0][seed] - answers[1][seed] for seed in seeds])
    classes = labels if sparse["metric"] == "mean_per_class" else np.zeros_like(labels)
    return differences, crossed(values, classes)


def crossed(values: np.ndarray, classes: np.ndarray) -> Ends | None:
    """Interval of a mean over seeds (rows) and images (columns), class by class.

    The variance of the seeds' means, and what the images' means, inside classes, add beyond the
    residuals that are in it already; the mean of Cochran's and Welch's square.
    At least what would not be seen in as many images, and further out where the images' means are
    skewed, or the seeds'.
    """
    s, n = values.shape
    names = np.unique(classes)
    variance, rest, squared_weights, shares, of_seed = 0.0, 0.0, 0.0, [], np.zeros(s)
    rates = {sign: np.zeros(s) for sign in (-1, 1)}
    for name in names:
        part = values[:, classes == name]
        size, weight = part.shape[1], 1 / (len(names) * part.shape[1])
        if size < 2:
            raise NotImplementedError("a class with a single test image")
        images, seeds = part.mean(axis=0), part.mean(axis=1)
        variance += images.var(ddof=1) / size / len(names) ** 2
        residual = part - images - seeds[:, None] + part.mean()
        rest += (residual**2).sum() / ((s - 1) * (size - 1)) / size / s / len(names) ** 2
        shares.append(weight * (images - images.mean()))
        squared_weights += weight**2 * size
        of_seed += seeds / len(names)
        for sign in rates:
            rates[sign] += (sign * part > 0).mean(axis=1) / len(names)
    share = np.concatenate(shares)
    t = stats.t.ppf(0.975, n - len(names))
    both = _square(
        np.array([max(variance - rest, 0), stats.sem(of_seed) ** 2]), n - len(names), s - 1
    )
    cubes = {sign: rate.mean() ** 3 for sign, rate in rates.items()}
    half = {}
    for sign, rate in rates.items():
        skew = (cubes[sign] - cubes[-sign]) / (sum(cubes.values()) or 1)
        more = _uneven(rate, 1 / squared_weights) if s > 1 and skew > 0 else 0.0
        half[sign] = max(math.sqrt(both + skew * more), 100 * (1 - 0.05**squared_weights))
    out = (2 * t**2 + 1) / 6 * (share**3).sum() / (share**2).sum() if share.any() else 0.0
    middle = float(of_seed.mean())
    return middle - half[-1] + min(out, 0.0), middle + half[1] + max(out, 0.0)


def _square(variances: np.ndarray, *degrees: int) -> float:
    """Mean of Cochran's and Welch's square of half of the interval, of two variances."""
    total = variances.sum()
    if not total:
        return 0.0
    cochran = (stats.t.ppf(0.975, degrees) ** 2 * variances).sum()
    freedom = total**2 / (variances**2 / degrees).sum()
    return float(cochran + stats.t.ppf(0.975, freedom) ** 2 * total) / 2


def _uneven(rates: np.ndarray, images: float) -> float:
    """Square, in points, by which Cox's end of a mean rate lies beyond that of its t-interval."""
    smooth = (images * rates + 0.5) / (images + 1)
    logits = np.log(smooth) - np.log1p(-smooth)
    mean = smooth.mean()
    spread = max(logits.var(ddof=1) - 1 / ((images + 1) * mean * (1 - mean)), 0.0)
    t, s = stats.t.ppf(0.975, len(rates) - 1), len(rates)
    error = math.sqrt(spread / s + spread**2 / 2 / (s - 1))
    end = 1 / (1 + math.exp(-(logits.mean() + spread / 2 + t * error)))
    beyond = max(end - mean, 0.0) ** 2 - (t * stats.sem(rates)) ** 2
    return float(100**2 * max(beyond, 0.0))


def _answers(run: Path, accuracy: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for one in accuracy.get("correct") or ():
        with np.load(run / one["file"]) as file:
            right = np.unpackbits(file["bits"], axis=1)[:, : int(file["images"])].astype(float)
            found["labels"] = file["labels"]
            for seed, row in zip(file["seeds"].tolist(), right, strict=True):
                found.setdefault(seed, row)
    return found


def _t(values: list[float]) -> Ends | None:
    if len(values) < 2:
        return None
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def main() -> None:
    """Print each number of a run twice."""
    wrong = 0
    for number in recompute(Path(sys.argv[1])):
        wrong += not number.agrees
        print(
            f"{'same' if number.agrees else 'DIFFERENT'}  {number.name}: {number.point:.4f} "
            f"{number.ends} stated {number.stated:.4f} {number.stated_ends}"
        )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
