"""Nightly series of one machine: change points and a plot."""

from sparsebench.bench.comparisons.history.changepoints import ChangePoint, change_points
from sparsebench.bench.comparisons.history.series import Series, read_series

__all__ = ["ChangePoint", "Series", "change_points", "read_series"]
