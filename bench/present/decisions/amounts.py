"""Probabilities, limits and needs in words."""

from __future__ import annotations

from sparsebench.bench.decide.answers import Standing
from sparsebench.bench.decide.evidence import MOST, Need


def points(margin: float) -> str:
    """A limit in words: "0.5 points"."""
    return f"{margin:g} point" if margin == 1 else f"{margin:g} points"


def need_words(need: Need) -> str:
    """What is to be measured more: "about 31 seeds (--seed; 5 now)"."""
    many = f"about {need.about}" if need.about is not None else f"more than {MOST}"
    option = {"seeds": "--seed; ", "blocks": "--repeats; "}.get(need.what, "")
    return f"{many} {need.what} ({option}{need.now} now)"


def chance(value: float | None) -> str:
    """A probability in per cent; never a bare 0 or 100."""
    if value is None:
        return "unknown"
    if value > 0.999:
        return "over 99.9 %"
    return "below 0.1 %" if value < 0.001 else f"{100 * value:.3g} %"


def milliseconds(seconds: float) -> str:
    """A short time in words."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def odds(standing: Standing) -> str:
    """The probability that the limit holds; over several tasks its bounds."""
    if standing.odds is None or standing.odds[0] == standing.odds[1]:
        return chance(standing.within)
    low, high = map(chance, standing.odds)
    if low == high:
        return low
    return f"at most {high}" if standing.odds[0] < 0.001 else f"{low} to {high}"
