"""Upstream accuracy by a plain loop that shares nothing with training.

Every image is decoded from its file again, in order, and evaluated in float32: no
cached bytes, no augmentation, no autocast. What a card says is measured here.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from sparsebench.models.cards import Preprocessing
from sparsebench.models.images.labelled import LabelledImages


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    images: LabelledImages,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 200,
    device: str = "cpu",
) -> float:
    """Top-1 accuracy, 0 to 1, on the test split.

    Args:
        module: classifier whose outputs are in the order of the classes; put into
            eval mode and left in it.
        images: whose test split counts.
        preprocessing: resize of the short side, centre crop, mean and deviation.
        batch_size: images a forward pass.
        device: where the module is.

    Raises:
        SparsebenchError: an image can no longer be read (an accuracy over some of them would
            be no accuracy of the split).
    """
    labels = images.test.labels
    module.eval()
    right = 0
    # By default cuDNN shortens the factors of a convolution to 10 bits.
    shortened, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        for first in range(0, len(labels), batch_size):
            wanted = torch.from_numpy(labels[first : first + batch_size])
            rows = range(first, first + len(wanted))
            batch = np.stack([_input(images.read("test", row), preprocessing) for row in rows])
            logits = module(torch.from_numpy(batch).to(device))
            right += int((logits.argmax(1).cpu() == wanted).sum())
    finally:
        torch.backends.cudnn.allow_tf32 = shortened
    return right / len(labels)


def _input(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    short = min(image.size)
    if short != preprocessing.resize:
        width, height = (int(preprocessing.resize * side / short) for side in image.size)
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        image = image.resize((width, height), filters[preprocessing.interpolation])
    size = preprocessing.size
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    mean, std = (np.asarray(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    scaled = (pixels - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)
