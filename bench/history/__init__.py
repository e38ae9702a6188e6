"""Nightly series of one machine: change points and a plot."""

from sparsebench.bench.history.changepoints import ChangePoint, change_points
from sparsebench.bench.history.series import Series, read_series

__all__ = ["ChangePoint", "Series", "change_points", "read_series"]
