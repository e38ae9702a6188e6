"""Networks that a CPU trains in no time, and a training process's work without its process."""

from __future__ import annotations

import io
import json

import torch
from torch import nn

from sparsebench.bench.training import launch, process
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.launch import Answers
from sparsebench.bench.training.network import Network
from sparsebench.models.architectures import ARCHITECTURES

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
SPARSE, DENSE = "tiny/uniform-90@generated", "tiny/dense@generated"


def trained_here(job: Job) -> Answers:
    """What a training process would answer; seconds less, for PyTorch is imported already."""
    said, answers = io.StringIO(), Answers()
    process._work(job, said)
    for line in said.getvalue().splitlines():
        launch._take(json.loads(line), answers, lambda text: None)
    return answers


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
