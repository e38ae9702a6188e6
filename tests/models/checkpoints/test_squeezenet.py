"""A real sparse ImageNet network: SqueezeNet by Deep Compression, on real images.

The data may not be distributed with the suite. ``SPARSEBENCH_TEST_DATA`` names a folder
with ``checkpoints/squeezenet-deep-compression.net`` and ``imagenette-224-sample.tar``
(``test/WORDNET-ID/*.jpg``, square images of 224 px).
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sparsebench.models.zoo.load import load_backbone

# Positions of Imagenette's classes in ImageNet-1k, from the WordNet ids.
IMAGENETTE = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
FULL_IMAGENETTE = 0.567  # of the same file, on all 3,925 validation images


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("SPARSEBENCH_TEST_DATA")
    if not folder:
        pytest.skip("SPARSEBENCH_TEST_DATA names no folder with the SqueezeNet file and images")
    return Path(folder)


@pytest.mark.slow
def test_the_published_file_recognises_imagenette(data: Path) -> None:
    path = data / "checkpoints/squeezenet-deep-compression.net"
    backbone = load_backbone(f"squeezenet1_0/deep_compression-67@{path}")
    assert backbone.measured_sparsity == pytest.approx(0.666, abs=0.001)
    seen = backbone.card.preprocessing
    mean, std = (np.array(v, np.float32) for v in (seen.mean, seen.std))
    right, total = 0, 0
    batch: list[NDArray[np.float32]] = []
    truth: list[int] = []
    with tarfile.open(data / "imagenette-224-sample.tar") as archive:
        for member in archive:
            parts = Path(member.name).parts
            if not member.isfile() or parts[-3] not in ("test", "train"):
                continue
            content = archive.extractfile(member)
            assert content is not None
            image = Image.open(io.BytesIO(content.read())).convert("RGB")
            # The sample's images are centre crops already: no second crop.
            image = image.resize((seen.size, seen.size), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, np.float32) / 255
            batch.append(((pixels - mean) / std).transpose(2, 0, 1).astype(np.float32))
            truth.append(IMAGENETTE[parts[-2]])
    for start in range(0, len(batch), 50):
        images = torch.from_numpy(np.stack(batch[start : start + 50]))
        with torch.inference_mode():
            chosen = backbone.module(images).argmax(1).tolist()
        right += sum(a == b for a, b in zip(chosen, truth[start : start + 50], strict=True))
        total += len(chosen)
    assert total == 800
    # Two standard errors of 800 images: 3.5 points.
    error = (FULL_IMAGENETTE * (1 - FULL_IMAGENETTE) / total) ** 0.5
    assert right / total == pytest.approx(FULL_IMAGENETTE, abs=2 * error)
