"""PyTorch's compiler is imported where it is used, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from sparsebench.bench.tasks import open_task
from sparsebench.models.architectures import build
from sparsebench.models.costs import dense_costs

assert len(open_task("digits").train.labels) == 1258
build("resnet18")
dense_costs("resnet18", 10, (3, 32, 32))
heavy = {"torch._dynamo", "torch._inductor", "sklearn", "scipy.stats"} & set(sys.modules)
assert not heavy, heavy

import torch
from torchvision.ops import roi_align  # of which it is a part

assert roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0, 4, 4]])], 2).tolist() == [
    [[[1.0, 1.0], [1.0, 1.0]]]
]
assert torch._dynamo.utils.is_compile_supported.__module__ == "torch._dynamo.utils"
"""


def test_networks_are_built_and_counted_without_the_compiler() -> None:
    """It takes longer to import than PyTorch; torchvision's operators still find it."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
