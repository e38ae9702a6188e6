"""Features: a backbone's outputs for a task, extracted once and kept, checksummed."""

from __future__ import annotations

from sparsebench.bench.heads.features.cache import CachedFeatures, FeatureCache
from sparsebench.bench.heads.features.extract import extract_batches
from sparsebench.bench.heads.features.flight import BatchRunner
from sparsebench.bench.heads.features.key import FeatureKey

__all__ = [
    "BatchRunner",
    "CachedFeatures",
    "FeatureCache",
    "FeatureKey",
    "extract_batches",
]
