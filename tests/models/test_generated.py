import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from sparsebench.models.architectures import classifiers, prunable_layers
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.generated import GENERATED_METHODS, generate, random_weight
from sparsebench.models.masks import Mask, mask_hash, mask_of, sparsity
from sparsebench.models.weights_hash import weights_hash
from sparsebench.models.zoo import find_card
from tests.models.shares import by_layer


def zeros_and_weights(mask: Mask) -> tuple[int, int]:
    total = sum(kept.numel() for kept in mask.values())
    return total - sum(int(kept.sum()) for kept in mask.values()), total


# Every classifier and the smallest detector by one method, two small ones by every method.
CASES = {(arch, "erk") for arch in (*classifiers(), "yolov5n")} | {
    (arch, method) for arch in ("resnet18", "mobilenet_v2") for method in GENERATED_METHODS
}


@pytest.mark.parametrize(("arch", "method"), sorted(CASES))
def test_sparsity_is_exact_and_activations_are_sane(arch: str, method: str) -> None:
    module = generate(arch, method, 0.9)
    zeros, total = zeros_and_weights(mask_of(module))
    assert zeros == round(0.9 * total)
    # A detector's coarsest map has 2 x 2 pixels at 64 px, mostly border.
    assert_activations_are_sane(module, 64 if arch in classifiers() else 160)


def test_blocks_of_input_channels_are_removed_whole() -> None:
    module = generate("resnet18", "uniform_block4", 0.9)
    zeros, total = zeros_and_weights(mask_of(module))
    layers = len(prunable_layers(module))
    assert round(0.9 * total) <= zeros < round(0.9 * total) + 4 * layers
    for name, kept in mask_of(module).items():
        if kept.shape[1] % 4 == 0:
            fours = kept.reshape(kept.shape[0], -1, 4, *kept.shape[2:]).sum(2)
            assert set(fours.flatten().tolist()) == {0, 4}, name
    assert_activations_are_sane(module)
    dense_of_its_own = find_card("resnet18/uniform_block4-90@generated").dense_partner
    assert dense_of_its_own == "resnet18/dense@generated"


def assert_activations_are_sane(module: nn.Module, side: int = 64) -> None:
    spreads: list[float] = []

    def watch(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        assert torch.isfinite(output).all()
        tiny = (output != 0) & (output.abs() < 1e-30)
        assert not tiny.any()
        spreads.append(float(output.square().mean().sqrt()))

    for layer in prunable_layers(module).values():
        layer.register_forward_hook(watch)
    torch.manual_seed(0)
    with torch.no_grad():
        logits = module(torch.randn(2, 3, side, side))
    assert len(spreads) == len(prunable_layers(module))
    assert min(spreads) > 0.05 and max(spreads) < 20
    assert float((logits[0] - logits[1]).abs().max()) > 1e-3  # images are distinguished


@pytest.mark.parametrize(("method", "sparsity_asked"), [("global", 0.98), ("uniform", 0.95)])
def test_very_sparse_networks_stay_alive(method: str, sparsity_asked: float) -> None:
    assert_activations_are_sane(generate("mobilenet_v2", method, sparsity_asked))


def test_dense_has_no_zero_at_all() -> None:
    for arch in ("resnet18", "mobilenet_v2"):
        assert sparsity(mask_of(generate(arch, "dense", 0.0))) == 0


def test_uniform_spares_the_first_and_the_depthwise_convolutions() -> None:
    module = generate("mobilenet_v2", "uniform", 0.8)
    layers = by_layer(mask_of(module))
    whole = {name for name, share in layers.items() if share == 0}
    depthwise = {
        f"{n}.weight"
        for n, m in prunable_layers(module).items()
        if isinstance(m, nn.Conv2d) and m.groups > 1
    }
    assert whole == depthwise | {"features.0.0.weight"}
    others = [share for name, share in layers.items() if name not in whole]
    assert max(others) - min(others) < 0.002


def test_uniform_resnet_is_ninety_percent_in_every_layer_but_the_first() -> None:
    layers = by_layer(mask_of(generate("resnet18", "uniform", 0.9)))
    assert layers.pop("conv1.weight") == 0
    assert all(share == pytest.approx(0.9, abs=0.002) for share in layers.values())


def test_sparser_masks_lie_inside_less_sparse_ones() -> None:
    sparse, sparser = (mask_of(generate("resnet18", "erk", s)) for s in (0.8, 0.95))
    for name, kept in sparser.items():
        assert not (kept & ~sparse[name]).any()


def test_the_same_name_gives_the_same_weights_in_every_process() -> None:
    program = (
        "from sparsebench.models.generated import generate; "
        "from sparsebench.models.weights_hash import weights_hash;"
        "print(weights_hash(generate('mobilenet_v2', 'erk', 0.9, 10)))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    torch.manual_seed(1)  # neither torch's state nor numpy's plays a part
    assert elsewhere.stdout.strip() == weights_hash(generate("mobilenet_v2", "erk", 0.9, 10))


def test_architectures_and_methods_differ() -> None:
    hashes = {
        mask_hash(mask_of(generate("mobilenet_v2", method, 0.9, 10)))
        for method in GENERATED_METHODS
    }
    assert len(hashes) == len(GENERATED_METHODS)


def test_kept_weights_are_the_largest_and_keep_the_scale() -> None:
    dense = random_weight("w", (64, 32, 3, 3), 64 * 288, gain=2.0)
    sparse = random_weight("w", (64, 32, 3, 3), 1000, gain=2.0)
    assert np.count_nonzero(sparse) == 1000
    assert np.abs(dense[sparse != 0]).min() >= np.abs(dense[sparse == 0]).max()
    for weight in (dense, sparse):
        assert np.square(weight.reshape(64, -1)).sum(1).mean() == pytest.approx(2.0, rel=1e-5)


def test_the_random_numbers_are_numpy_s_seeded_by_the_text() -> None:
    seed = int.from_bytes(hashlib.sha256(b"w").digest(), "little")
    normal = np.random.default_rng(seed).standard_normal(50, dtype=np.float32)
    made = random_weight("w", (5, 10), 50, gain=1.0).reshape(-1)
    assert np.corrcoef(normal, made)[0, 1] == pytest.approx(1.0)


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'erk'"):
        generate("resnet18", "erc", 0.9)
    with pytest.raises(SparsebenchError, match="outside"):
        generate("mobilenet_v2", "erk", 1.5)


def test_nothing_left_is_possible() -> None:
    module = generate("mobilenet_v2", "erk", 1.0, 10)
    assert sparsity(mask_of(module)) == 1.0
