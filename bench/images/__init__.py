"""Images in memory for training: decoded once, cut and mirrored again in every epoch."""

from sparsebench.bench.images.augment import Crop, random_crops
from sparsebench.bench.images.batches import (
    BatchPart,
    augmented_batches,
    centred_batches,
    placed_batches,
)
from sparsebench.bench.images.letterbox import Placement, placed_boxes
from sparsebench.bench.images.on_device import (
    DeviceImages,
    device_augmented_batches,
    device_centred_batches,
)
from sparsebench.bench.images.resized import ResizedImages, Source, Subset, decode_resized
from sparsebench.bench.images.store import PreparedStore
from sparsebench.bench.images.transfer import send

__all__ = [
    "BatchPart",
    "Crop",
    "DeviceImages",
    "PreparedStore",
    "Placement",
    "ResizedImages",
    "Source",
    "Subset",
    "augmented_batches",
    "centred_batches",
    "decode_resized",
    "device_augmented_batches",
    "device_centred_batches",
    "placed_batches",
    "placed_boxes",
    "random_crops",
    "send",
]
