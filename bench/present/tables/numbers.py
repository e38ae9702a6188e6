"""Numbers as text: never a bare point, and no more digits than help."""

from __future__ import annotations

import math

from sparsebench.bench.present.table import DASH
from sparsebench.bench.records import Accuracy, Delta, Estimate
from sparsebench.bench.statistics import Interval

MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
NO_INTERVAL = "no interval"


def ratio(estimate: Estimate) -> tuple[str, str]:
    """A ratio with the sign for times, and its interval from low to high."""
    point = f"{estimate.median:.{_digits(estimate.median)}f}{TIMES}"
    if estimate.ci95 is None:
        return point, NO_INTERVAL
    low, high = estimate.ci95
    return point, f"{_end(low)}{DASH}{_end(high)}"


def percent(accuracy: Accuracy) -> tuple[str, str]:
    """An accuracy in per cent and half its interval: ("91.2", "±0.3")."""
    point = accuracy.mean * 100
    if accuracy.ci95 is None:
        return f"{point:.1f}", NO_INTERVAL
    return f"{point:.1f}", plus_minus((accuracy.ci95[1] - accuracy.ci95[0]) / 2 * 100)


def points(delta: Delta) -> tuple[str, str]:
    """A change in percentage points with its sign, and half its interval."""
    text = signed_points(delta.mean / 100) + delta.mark
    if delta.ci95 is None:
        return text, NO_INTERVAL
    return text, plus_minus((delta.ci95[1] - delta.ci95[0]) / 2)


def signed_points(fraction: float) -> str:
    """A fraction in percentage points with its sign, to one digit."""
    text = f"{100 * fraction:+.1f}".replace("-", MINUS)
    return "0.0" if text in ("+0.0", f"{MINUS}0.0") else text


def relative(fraction: float, ci95: tuple[float, float] | None) -> tuple[str, str]:
    """A relative change in per cent with its sign, and its interval: ("+8%", "−4–+21%")."""
    if ci95 is None:
        return _signed(fraction), NO_INTERVAL
    return _signed(fraction), f"{_signed(ci95[0])}{DASH}{_signed(ci95[1])}"


def _signed(fraction: float) -> str:
    text = f"{fraction * 100:+.0f}%".replace("-", MINUS) if abs(fraction) < 9.995 else ">999%"
    return "0%" if text in ("+0%", f"{MINUS}0%") else text


def plus_minus(half: float) -> str:
    """Half an interval to one digit; what rounds to nothing is said to be less than that."""
    return f"{PLUS_MINUS}{half:.1f}" if half >= 0.05 else f"{PLUS_MINUS}<0.1"


def speed(interval: Interval) -> tuple[str, str]:
    """A time or a throughput, and half its interval as a share of it: ("1,234", "±2%")."""
    point = significant(interval.mid)
    if interval.ci95 is None:
        return point, NO_INTERVAL
    factor = max(interval.mid / interval.low, interval.high / interval.mid) - 1
    return point, f"{PLUS_MINUS}{share(factor)}"


def share(fraction: float) -> str:
    """A relative change in whole per cent."""
    if fraction < 0.005:
        return "<1%"
    return f"{fraction * 100:.0f}%" if fraction < 9.995 else ">999%"


def _end(value: float) -> str:
    """An end of a ratio's interval; one of a run that was disturbed may be out of all bounds."""
    if value < 0.005:
        return "0"
    return f"{value:.{_digits(value)}f}" if value < 999.5 else ">999"


def _digits(value: float) -> int:
    """Decimals of a ratio: a hundredth is finer than any effect of interest; 15.1, 120."""
    return 2 if value < 9.995 else 1 if value < 99.95 else 0


def significant(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value <= 0:
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"
