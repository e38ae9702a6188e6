"""Pictures in memory for training: decoded once, cut and mirrored anew in every epoch."""

from bench.pictures.augment import Crop, random_crops
from bench.pictures.batches import Source, augmented_batches, centred_batches
from bench.pictures.resized import ResizedPictures, decode_resized
from bench.pictures.store import PictureStore

__all__ = [
    "Crop",
    "PictureStore",
    "ResizedPictures",
    "Source",
    "augmented_batches",
    "centred_batches",
    "decode_resized",
    "random_crops",
]
