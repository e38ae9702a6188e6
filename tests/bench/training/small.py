"""A network that a CPU trains in no time, with batch norm and no mask."""

from __future__ import annotations

import torch
from torch import nn

from sparsebench.bench.training.network import Network


def small_network() -> Network:
    """Two classes; the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 2),
        )
    return Network(module.eval(), {}, {}, ("5.weight", "5.bias"), masked=False)
