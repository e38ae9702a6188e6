"""Nightly series of one machine: change points and a plot."""

from bench.history.changepoints import ChangePoint, change_points
from bench.history.series import Series, read_series

__all__ = ["ChangePoint", "Series", "change_points", "read_series"]
