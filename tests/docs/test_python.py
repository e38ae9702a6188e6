"""The Python examples of the documentation run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from sparsebench.exporters.kernels.compiled.build import find_compiler

PAGE = Path(__file__).parents[2] / "docs" / "own.md"


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_the_training_loop_trains_and_keeps_the_mask(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if "sparsify_module" in block]
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(example, str(PAGE), "exec"), names)
    assert "Choice(layer='conv1'" in capsys.readouterr().out
    network = names["network"]
    assert isinstance(network, torch.nn.Module)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert abs(float((layer.weight == 0).float().mean()) - 0.9) < 0.01
