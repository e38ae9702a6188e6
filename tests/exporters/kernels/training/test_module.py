"""A sparse network against the masked dense one it came from: values, gradients, training."""

from __future__ import annotations

import copy
import mmap
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.training import choice as choice_of_executions
from sparsebench.exporters.kernels.training.choice import MARGIN, choose_executions
from sparsebench.exporters.kernels.training.layers import SparseLinear
from sparsebench.exporters.kernels.training.module import SparseModule, sparsify_module
from sparsebench.models.architectures import prunable_layers
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.generated import generate
from sparsebench.models.masks import Mask, apply_mask, mask_of

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


def masked(arch: str, method: str = "uniform", sparsity: float = 0.9) -> tuple[nn.Module, Mask]:
    """A network in float64 and training mode with its convolutions' mask."""
    module = copy.deepcopy(_generated(arch, method, sparsity)).double().train()
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module, {name: kept for name, kept in mask_of(module).items() if kept.ndim == 4}


@lru_cache(4)
def _generated(arch: str, method: str, sparsity: float) -> nn.Module:
    return generate(arch, method, sparsity, 10)


def gradients(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    torch.autograd.backward(functional.cross_entropy(module(images), labels))
    assert images.grad is not None
    return images.grad


def close(mine: Tensor, theirs: Tensor, scale: float | None = None) -> bool:
    """Equal within 1e-10 of the largest value."""
    if not theirs.numel():
        return mine.shape == theirs.shape
    top = float(theirs.detach().abs().max()) if scale is None else scale
    return bool(((mine - theirs).abs() <= 1e-10 * top + 1e-15).all())


@pytest.mark.parametrize(
    ("arch", "method"),
    [
        ("resnet18", "uniform"),
        ("resnet50", "erk"),
        ("mobilenet_v2", "uniform"),
        ("efficientnet_lite0", "uniform"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_and_statistics_are_those_of_the_masked_dense_network(
    arch: str, method: str, training: bool
) -> None:
    dense, mask = masked(arch, method)
    dense.train(training)
    sparse = sparsify_module(dense, mask, threads=2)
    # Planes of 24, 12, 6, 3 and 2: PyTorch has no fast convolution in float64.
    images = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(3)
    theirs, mine = gradients(dense, images, labels), gradients(sparse, images, labels)
    assert close(mine, theirs)
    found = dict(sparse.network.named_parameters())
    top = max(float(p.grad.abs().max()) for p in dense.parameters() if p.grad is not None)
    for name, parameter in dense.named_parameters():
        assert parameter.grad is not None
        expected = parameter.grad[mask[name]] if name in mask else parameter.grad
        grad = found[name.replace("weight", "values") if name in mask else name].grad
        # Where a gradient vanishes (a bias in front of batch norm) its rounding is left.
        assert grad is not None and close(grad, expected, max(float(expected.abs().max()), top))
    for name, buffer in dense.named_buffers():
        assert torch.allclose(sparse.network.get_buffer(name), buffer, rtol=1e-12)


def test_the_state_dict_comes_back_bit_by_bit() -> None:
    dense, mask = masked("resnet18")
    dense = dense.float()
    back = sparsify_module(dense, mask).to_state_dict()
    assert list(back) == list(dense.state_dict())
    for name, value in dense.state_dict().items():
        assert value.dtype == back[name].dtype and torch.equal(value, back[name]), name


def test_parameters_and_momentum_are_as_small_as_the_nonzeros() -> None:
    dense, mask = masked("resnet18", sparsity=0.95)
    sparse = sparsify_module(dense, mask)
    kept = sum(int(m.sum()) for m in mask.values())
    others = sum(p.numel() for n, p in dense.named_parameters() if n not in mask)
    assert sum(p.numel() for p in sparse.parameters()) == kept + others
    images, labels = torch.randn(2, 3, 32, 32).double(), torch.tensor([0, 1])
    optimizer = torch.optim.SGD(sparse.parameters(), 0.1, momentum=0.9)
    torch.autograd.backward(functional.cross_entropy(sparse(images), labels))
    optimizer.step()
    momenta = [state["momentum_buffer"] for state in optimizer.state.values()]
    assert sum(m.numel() for m in momenta) == kept + others


def test_ten_steps_end_where_masked_dense_training_ends_and_the_mask_holds() -> None:
    dense, mask = masked("resnet18", "erk")
    sparse = sparsify_module(dense, mask, threads=2)
    generator = torch.Generator().manual_seed(3)
    optimizers = [
        torch.optim.SGD(m.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
        for m in (dense, sparse)
    ]
    for _ in range(10):
        images = torch.randn(17, 3, 32, 32, generator=generator).double()
        labels = torch.randint(0, 10, (17,), generator=generator)
        for module, optimizer in zip((dense, sparse), optimizers, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(module(images), labels))
            optimizer.step()
            if module is dense:
                apply_mask(dense, mask)
    back = sparse.to_state_dict()
    for name, value in dense.state_dict().items():
        assert torch.allclose(back[name].double(), value.double(), rtol=1e-7, atol=1e-9), name
    for name, kept in mask.items():
        assert not back[name][~kept].any()


def test_one_thread_and_two_agree() -> None:
    dense, mask = masked("resnet18")
    dense = dense.float()
    images, labels = torch.randn(16, 3, 64, 64), torch.arange(16) % 10
    outputs = []
    for threads in (1, 2):
        sparse = sparsify_module(dense, mask, threads=threads)
        grad = gradients(sparse, images, labels)
        outputs.append((grad, dict(sparse.named_parameters())))
    assert torch.allclose(outputs[0][0], outputs[1][0], rtol=1e-5, atol=1e-8)
    for name, parameter in outputs[0][1].items():
        other = outputs[1][1][name].grad
        assert parameter.grad is not None and other is not None
        assert torch.allclose(parameter.grad, other, rtol=1e-4, atol=1e-6), name


def test_a_nan_is_seen() -> None:
    dense, mask = masked("resnet18")
    images = torch.randn(3, 3, 32, 32).double()
    images[1, 0, 5, 5] = torch.nan
    with torch.no_grad():
        out = sparsify_module(dense.eval(), mask)(images)
    assert out[1].isnan().all() and not out[0].isnan().any() and not out[2].isnan().any()


class Residual(nn.Module):
    """What a user may have: names that clash, biases, groups, a shared value, odd strides."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding=(0, 2))
        self.two = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.norm = nn.BatchNorm2d(8, affine=False, momentum=None)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.one(x))
        y = torch.relu(self.norm(self.two(x)) + x) + x
        return self.head(functional.relu6(y).mean((2, 3)))  # type: ignore[no-any-return]


def test_a_users_own_module_becomes_sparse_in_one_call() -> None:
    torch.manual_seed(0)
    dense = Residual().double()
    mask = {
        name: torch.rand(layer.weight.shape) < 0.4
        for name, layer in ((f"{n}.weight", m) for n, m in prunable_layers(dense).items())
    }
    apply_mask(dense, mask)
    sparse = sparsify_module(dense, mask)
    images, labels = torch.randn(7, 3, 9, 11).double(), torch.arange(7) % 3
    theirs, mine = gradients(dense, images, labels), gradients(sparse, images, labels)
    assert close(mine, theirs)
    found = dict(sparse.network.named_parameters())
    for name, parameter in dense.named_parameters():
        assert parameter.grad is not None
        expected = parameter.grad[mask[name]] if name in mask else parameter.grad
        grad = found[name.replace("weight", "values") if name in mask else name].grad
        assert grad is not None and close(grad, expected), name
    assert sparse.network.get_buffer("norm.num_batches_tracked") == 1
    assert torch.allclose(
        sparse.network.get_buffer("norm.running_var"), dense.get_buffer("norm.running_var")
    )


def test_dense_execution_of_a_layer_computes_the_same() -> None:
    dense, mask = masked("resnet18")
    sparse = sparsify_module(dense, mask)
    other = copy.deepcopy(sparse)
    for layer in other.convolutions().values():
        layer.execution = "dense"
    images, labels = torch.randn(3, 3, 32, 32).double(), torch.arange(3)
    assert close(gradients(other, images, labels), gradients(sparse, images, labels))
    for mine, theirs in zip(other.parameters(), sparse.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert close(mine.grad, theirs.grad)


def test_the_faster_execution_of_each_layer_is_chosen_and_recorded() -> None:
    dense, mask = masked("resnet18", sparsity=0.95)
    sparse = sparsify_module(dense.float(), mask, threads=1)
    before = sparse.to_state_dict()
    choices = choose_executions(sparse, torch.randn(16, 3, 32, 32), rounds=2)
    layers = sparse.convolutions()
    assert [choice.layer for choice in choices] == list(layers)
    for choice in choices:
        assert len(choice.sparse_seconds) == len(choice.dense_seconds) == 2
        faster = min(choice.dense_seconds) * MARGIN < min(choice.sparse_seconds)
        assert choice.execution == layers[choice.layer].execution
        assert choice.execution == ("dense" if faster else "sparse")
    for name, value in sparse.to_state_dict().items():
        assert torch.equal(value, before[name])


def test_rounds_that_another_program_slowed_do_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense takes 2 ms and sparse 1 ms, but three of the five sparse rounds were disturbed."""
    dense, mask = masked("resnet18", sparsity=0.95)
    sparse = sparsify_module(dense.float(), mask, threads=1)
    disturbed = iter([9e-3, 9e-3, 1e-3, 9e-3, 9e-3, 1e-3])

    def one_pass(module: SparseModule, _: Tensor) -> dict[str, float]:
        layers = module.convolutions()
        runs_sparse = {layer.execution for layer in layers.values()} == {"sparse"}
        return dict.fromkeys(layers, next(disturbed) if runs_sparse else 2e-3)

    monkeypatch.setattr(choice_of_executions, "_one_pass", one_pass)
    choices = choose_executions(sparse, torch.randn(2, 3, 32, 32))
    assert {choice.execution for choice in choices if choice.layer != "fc"} == {"sparse"}


@pytest.mark.parametrize("shape", [(5, 12), (2, 9, 12), (33, 12), (0, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_masked_linear_layer_skips_its_zeros(shape: tuple[int, ...], bias: bool) -> None:
    """Forward and all gradients against PyTorch's own layer in float64."""
    torch.manual_seed(0)
    dense = nn.Linear(12, 7, bias=bias).double()
    kept = torch.rand(7, 12) < 0.3
    kept[2] = False  # an output without a weight
    apply_mask(dense, {"weight": kept})
    own = SparseLinear(copy.deepcopy(dense), kept, library("float64"), 2)
    theirs = torch.randn(shape).double()
    mine = theirs.clone().requires_grad_()
    theirs.requires_grad_()
    upstream = torch.randn(*shape[:-1], 7).double()
    for layer, inputs in ((dense, theirs), (own, mine)):
        torch.autograd.backward(layer(inputs), upstream)
    assert close(own(mine), dense(theirs))
    assert mine.grad is not None and theirs.grad is not None and close(mine.grad, theirs.grad)
    assert own.values.grad is not None and dense.weight.grad is not None
    assert close(own.values.grad, dense.weight.grad[kept])
    if bias:
        assert own.bias is not None and own.bias.grad is not None
        assert dense.bias.grad is not None and close(own.bias.grad, dense.bias.grad)
    again = copy.deepcopy(own)
    again.execution = "dense"
    assert close(again(mine), own(mine))


def test_linear_layers_are_chosen_for_too() -> None:
    dense = Residual()
    mask = {"head.weight": torch.rand(3, 8) < 0.5}
    apply_mask(dense, mask)
    sparse = sparsify_module(dense, mask, threads=1)
    choices = choose_executions(sparse, torch.randn(4, 3, 9, 11), rounds=2)
    assert [choice.layer for choice in choices] == ["one", "two", "head"]
    assert choices[-1].execution == sparse.linears()["head"].execution
    assert all(seconds > 0 for seconds in choices[-1].sparse_seconds + choices[-1].dense_seconds)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if y.sum() > 0 else -y


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.two = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.sigmoid(self.one(x)))  # type: ignore[no-any-return]


def half(module: nn.Module) -> nn.Module:
    """Every other weight pruned."""
    for name, layer in prunable_layers(module).items():
        apply_mask(
            module,
            {f"{name}.weight": torch.arange(layer.weight.numel()).view_as(layer.weight) % 2 == 0},
        )
    return module


class DropPath(nn.Module):
    """As many repositories copy it: by the name alone."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.drop_prob = chance

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_prob:
            return x
        kept = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(1 - self.drop_prob)
        return x * kept


def dropping(chance: float, kind: type[nn.Module] | None = None) -> nn.Module:
    drop = StochasticDepth(chance, "row") if kind is None else kind(chance)
    return nn.Sequential(nn.Conv2d(3, 4, 1), drop, nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Branching(), "cannot be traced"),
        (half(Unknown()), "cannot reach the masked layer 'two': they do not know .*sigmoid"),
        (half(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))), "reflect"),
        (nn.Sequential(nn.Conv2d(3, 4, 1)).half(), "float32"),
        (half(dropping(0.2)), r"do not know '1' \(StochasticDepth\(p=0.2, mode=row\)\)"),
        (half(dropping(0.2, DropPath)), r"do not know '1' \(DropPath"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_reason(module: nn.Module, words: str) -> None:
    with pytest.raises(SparsebenchError, match=words):
        sparsify_module(module)


@pytest.mark.parametrize("chance", [0.0, 0.2])
def test_stochastic_depth_that_drops_nothing_is_no_layer(chance: float) -> None:
    network = half(dropping(chance)).train(chance == 0.0)
    sparse = sparsify_module(network)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(sparse(images), network(images))


def test_a_weight_outside_of_the_mask_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(SparsebenchError, match="does not keep"):
        sparsify_module(module, {"0.weight": torch.zeros(4, 3, 1, 1, dtype=torch.bool)})


def test_backward_twice_is_an_error_and_two_forwards_are_none() -> None:
    dense, mask = masked("resnet18")
    sparse: SparseModule = sparsify_module(dense, mask)
    images = torch.randn(2, 3, 32, 32).double()
    first, second = sparse(images).sum(), sparse(2 * images).sum()
    torch.autograd.backward(first + second)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.backward(first)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_takes_its_memory_once(
    mode: type[torch.no_grad], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradients nothing is kept for a backward pass, also where parameters want one."""
    dense, mask = masked("resnet18")
    sparse = sparsify_module(dense, mask).eval()
    images = torch.randn(2, 3, 32, 32).double()
    with mode():
        first = sparse(images)
        monkeypatch.setattr(mmap, "mmap", None)  # fresh memory would fail
        assert torch.equal(sparse(images), first)
