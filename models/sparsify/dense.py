"""Dense training: the baseline that every sparse backbone is measured against."""

from __future__ import annotations

from sparsebench.models.sparsify.method import Method


class Dense(Method):
    """No weight is removed; one-cycle learning rate, no label smoothing."""
