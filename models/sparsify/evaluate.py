"""Upstream accuracy by a plain loop that shares nothing with training.

Every picture is decoded from its file again, in order, and evaluated in float32: no
cached bytes, no augmentation, no autocast. What a card says is measured here.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.data import list_pictures


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    folder: Path,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 200,
    device: str = "cpu",
) -> float:
    """Top-1 accuracy, 0 to 1, on ``folder/CLASS/picture``.

    Args:
        module: classifier whose outputs are in the order of the sorted class folders; put into
            eval mode and left in it.
        folder: the test split.
        preprocessing: resize of the short side, centre crop, mean and deviation.
        batch_size: pictures a forward pass.
        device: where the module is.

    Raises:
        SparsebenchError: a picture cannot be decoded (an accuracy over some of them would
            be no accuracy of the split).
    """
    paths, labels, _ = list_pictures(folder)
    module.eval()
    right = 0
    for first in range(0, len(paths), batch_size):
        chosen = paths[first : first + batch_size]
        batch = np.stack([_input(path, preprocessing) for path in chosen])
        logits = module(torch.from_numpy(batch).to(device))
        wanted = torch.tensor(labels[first : first + batch_size])
        right += int((logits.argmax(1).cpu() == wanted).sum())
    return right / len(paths)


def check_pictures(folder: Path) -> None:
    """Decode every picture of a split once.

    Raises:
        SparsebenchError: one cannot be decoded.
    """
    paths, _, _ = list_pictures(folder)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for _ in pool.map(_decode, paths):
            pass


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SparsebenchError(
            f"{path} cannot be decoded: {error}.", "Repair or remove it."
        ) from error


def _input(path: Path, preprocessing: Preprocessing) -> NDArray[np.float32]:
    picture = _decode(path)
    short = min(picture.size)
    if short != preprocessing.resize:
        width, height = (int(preprocessing.resize * side / short) for side in picture.size)
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        picture = picture.resize((width, height), filters[preprocessing.interpolation])
    size = preprocessing.size
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    mean, std = (np.asarray(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    scaled = (pixels - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)
