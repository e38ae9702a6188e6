"""On a GPU: 2:4 weights in compressed form compute what they compute in bf16, and how fast.

``pytest bench/sessions/test_two_of_four.py -s`` prints the ratios.
"""

from __future__ import annotations

import pytest

DEVICE = "cuda"
CALLS = 50
CASES = [("linear", 768, 3072, 197 * 16), ("1x1", 1024, 256, 14 * 14), ("1x1", 2048, 512, 7 * 7)]
"""Kind, inputs, outputs, and rows (linear) or places of an image (1x1 convolution)."""


@pytest.fixture(autouse=True)
def gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("There is no CUDA GPU here.")
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("Sparse tensor cores came with Ampere.")


@pytest.mark.parametrize(("kind", "inputs", "outputs", "places"), CASES)
def test_the_same_numbers_and_how_fast(kind: str, inputs: int, outputs: int, places: int) -> None:
    import torch
    from torch import nn

    from sparsebench.exporters.engines.semi_structured import use_pattern
    from sparsebench.models.patterns import two_of_four_masks

    torch.manual_seed(0)
    if kind == "linear":
        layer: nn.Module = nn.Linear(inputs, outputs)
        x = torch.randn(places, inputs)
    else:
        layer = nn.Conv2d(inputs, outputs, 1)
        side = round(places**0.5)
        x = torch.randn(64, inputs, side, side).contiguous(memory_format=torch.channels_last)
    weight = layer.get_parameter("weight")
    with torch.no_grad():
        weight.mul_(two_of_four_masks({"weight": weight})["weight"])
    module = nn.Sequential(layer).to(DEVICE, torch.bfloat16)
    x = x.to(DEVICE, torch.bfloat16)
    with torch.inference_mode():
        expected = module(x)
        before = milliseconds(module, x)
        told = use_pattern(module)
        assert told == {"0": ""}
        torch.testing.assert_close(module(x), expected, rtol=3e-2, atol=3e-2)
        after = milliseconds(module, x)
    print(
        f"{kind} {inputs} -> {outputs}: {before:.3f} ms, 2:4 {after:.3f} ms, {before / after:.2f}x"
    )


def milliseconds(module: object, x: object) -> float:
    """Of one call: the least of several rounds, by the device's clock."""
    from sparsebench.bench.training.device_time import gpu_event

    assert callable(module)
    found = []
    for _ in range(5):
        begin, end = gpu_event(), gpu_event()
        begin.record()
        for _ in range(CALLS):
            module(x)
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / CALLS)
    return float(min(found))


def test_the_engine_runs_a_network_in_the_pattern() -> None:
    import numpy as np

    from sparsebench.exporters.engines.base import CompileRequest
    from sparsebench.exporters.engines.torch import TorchEngine
    from sparsebench.exporters.onnx.export import export_backbone
    from sparsebench.models.zoo.load import load_backbone

    artifact = export_backbone(load_backbone("resnet50/magnitude_2of4-50@generated"), size=64)
    images = np.random.default_rng(0).standard_normal((8, 3, 64, 64), dtype=np.float32)
    sparse, bf16 = (
        TorchEngine().compile(artifact, CompileRequest(8, 1, precision, DEVICE))
        for precision in ("2:4", "bf16")
    )
    wanted = bf16.run(images)
    np.testing.assert_allclose(sparse.run(images), wanted, atol=0.05 * np.abs(wanted).max())
    assert len(sparse.describe()["two_of_four"]) > 20
