"""Pictures in memory for training: decoded once, cut and mirrored anew in every epoch."""

from bench.pictures.augment import Crop, random_crops
from bench.pictures.batches import Source, augmented_batches, centred_batches
from bench.pictures.on_device import (
    DevicePictures,
    device_augmented_batches,
    device_centred_batches,
)
from bench.pictures.resized import ResizedPictures, Subset, decode_resized
from bench.pictures.store import PictureStore
from bench.pictures.transfer import send

__all__ = [
    "Crop",
    "DevicePictures",
    "PictureStore",
    "ResizedPictures",
    "Source",
    "Subset",
    "augmented_batches",
    "centred_batches",
    "decode_resized",
    "device_augmented_batches",
    "device_centred_batches",
    "random_crops",
    "send",
]
