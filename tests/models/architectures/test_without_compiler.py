"""PyTorch's compiler is imported where it is used, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from sparsebench.bench.tasks import open_task
from sparsebench.models.architectures import build
from sparsebench.models.costs import dense_costs
from sparsebench.models.detection.maps import feature_maps
from sparsebench.models.sparsify.start import imagenet_rows

assert len(open_task("digits").train.labels) == 1258
build("resnet18")
assert imagenet_rows(["n15075141"]) == [999] and "timm" not in sys.modules
lite = build("efficientnet_lite0")  # of timm
dense_costs("resnet18", 10, (3, 32, 32))
feature_maps(build("resnet18").eval(), 32, "resnet18")
heavy = {"torch._dynamo", "torch._inductor", "sklearn", "scipy.stats", "sympy"} & set(sys.modules)
assert not heavy, heavy

import torch
from sparsebench.bench.training.optimizer import MaskedSGD
from sparsebench.models.architectures.without_compiler import postpone_compiler, without_compiler

with without_compiler():
    torch.optim.AdamW(lite.parameters(), foreach=True).step()
assert "torch._dynamo" not in sys.modules
postpone_compiler()
weight = torch.nn.Parameter(torch.tensor([1.0]))
weight.grad = torch.tensor([0.5])
stepping = MaskedSGD([weight], {}, lr=0.1, momentum=0.9, weight_decay=0.0)
stepping.step()
assert abs(float(weight) - 0.95) < 1e-6
from sparsebench.bench.training.execution import Execution, configured

with configured(Execution()):
    assert not torch.are_deterministic_algorithms_enabled()
assert not {"torch._dynamo.eval_frame", "torch._inductor"} & set(sys.modules)
import torch._dynamo.config  # a part of what is postponed

assert torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).tolist() == [2.0]
assert "torch._dynamo.eval_frame" in sys.modules
stepping.step()  # by momentum: 0.9 * 0.5 + 0.5
assert abs(float(weight) - 0.855) < 1e-6
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
