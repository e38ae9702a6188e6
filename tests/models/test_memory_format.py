"""Trainings whose backward pass in channels-last format would end the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from sparsebench.bench.training.calibrate import candidates_for
from sparsebench.bench.training.execution import Execution
from sparsebench.models.memory_format import channels_last_is_safe

_CODE = """
import torch
from torch import nn
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.method import Recipe
from sparsebench.models.sparsify.train import Execution, train
from tests.models.sparsify.tiny import random_images, weights_of

torch.set_num_threads(1)
layers = nn.Conv2d(3, 48, 1, stride=2, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
module = nn.Sequential(*layers, nn.Linear(48, 2))
recipe, how = Recipe(batch_size=8), Execution(precision="fp32")
dense = METHODS.load("dense")(0.0)
train(module, weights_of(module), random_images(), dense, recipe, 4, seed=0, execution=how)
print("trained")
"""


def test_a_strided_first_layer_of_one_pixel_trains_on_a_processor_without_avx512() -> None:
    """oneDNN is told to use AVX2 alone; it then wrote behind its buffer."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    ended = subprocess.run(
        [sys.executable, "-c", _CODE], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "trained\n"), ended.stderr[-500:]


@pytest.mark.parametrize(
    ("layer", "safe"),
    [
        (nn.Conv2d(3, 8, 1, stride=2), False),
        (nn.Conv2d(3, 8, 1), True),
        (nn.Conv2d(8, 8, 1, stride=2), True),
        (nn.Conv2d(3, 8, 3, stride=2), True),
    ],
)
def test_only_strided_layers_of_one_pixel_and_few_channels_are_kept_out(
    layer: nn.Conv2d, safe: bool
) -> None:
    assert channels_last_is_safe(nn.Sequential(nn.ReLU(), layer), "cpu") is safe
    assert channels_last_is_safe(layer, "cuda:0")


def test_the_calibration_does_not_try_what_is_not_safe() -> None:
    with torch.device("meta"):
        first = nn.Conv2d(3, 8, 1, stride=2)
    assert list(candidates_for(first, Execution())) == ["contiguous"]
    assert list(candidates_for(nn.ReLU(), Execution())) == ["contiguous", "channels-last"]
