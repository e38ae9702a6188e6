"""Features: a backbone's outputs for a task, extracted once and kept, checksummed."""

from __future__ import annotations

from sparsebench.bench.features.cache import CachedFeatures, FeatureCache
from sparsebench.bench.features.extract import extract_batches
from sparsebench.bench.features.flight import BatchRunner
from sparsebench.bench.features.key import FeatureKey

__all__ = [
    "BatchRunner",
    "CachedFeatures",
    "FeatureCache",
    "FeatureKey",
    "extract_batches",
]
