"""On a GPU, full fine-tuning keeps up with a plain PyTorch loop.

``pytest bench/sessions/test_gpu.py -s`` prints the ratios.
"""

from __future__ import annotations

import pytest

AS_FAST = 0.9


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_full_fine_tuning_keeps_up_with_a_plain_loop(precision: str) -> None:
    """ResNet-50 at 224 px, 90 % zeros, batch 64: the loop of torchvision's reference training."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("There is no CUDA GPU here.")
    from bench.training.beside_plain import Asked, beside_plain

    found = beside_plain(Asked(precision=precision))
    print(f"{torch.cuda.get_device_name()}, {precision}: plain over ours {found}")
    assert found.median >= AS_FAST, found
