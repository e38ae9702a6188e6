"""Modules as users have them: what the sparse network does is what the masked dense one does."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.training.module import SparseModule, sparsify_module
from sparsebench.models.errors import SparsebenchError

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


class Net(nn.Module):
    """Two convolutions, batch norms and a classifier; `how` is its forward."""

    def __init__(self, how: Callable[[Any, Tensor], Any] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.one, self.two = nn.Conv2d(3, 1, 1), nn.Linear(8, 8)
        self.fc = nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.ones(1))
        self.__dict__["how"] = how

    def forward(self, x: Tensor) -> Any:
        how = self.__dict__["how"]
        if how is not None:
            return how(self, x)
        x = functional.relu(self.norm(self.a(x)))
        x = functional.relu(self.norm2(self.b(x)) + x)
        return self.fc(x.mean((2, 3)))


def pruned(net: nn.Module) -> nn.Module:
    """Float64, a third of each convolution's weights left."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                kept = torch.rand(layer.weight.shape, generator=generator) < 0.35
                layer.weight.mul_(kept)
    return net.double()


def some_images(size: int = 12) -> Tensor:
    return torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(2)).double()


def same(dense: nn.Module, sparse: SparseModule, images: Tensor | None = None) -> None:
    """Outputs, all gradients, and statistics agree after one forward and backward pass."""
    images = some_images() if images is None else images
    theirs, mine = (images.clone().requires_grad_() for _ in range(2))
    torch.manual_seed(7)
    expected = dense(theirs)
    torch.manual_seed(7)
    found = sparse(mine)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3)).double()
    expected.backward(upstream)
    found.backward(upstream)
    torch.testing.assert_close(mine.grad, theirs.grad)
    parameters = dict(sparse.network.named_parameters())
    for name, parameter in dense.named_parameters():
        values = name.removesuffix("weight") + "values"
        own = parameters[values if values in parameters else name]
        if parameter.grad is None:
            assert own.grad is None or not own.grad.any(), name
            continue
        wanted = parameter.grad[parameter != 0] if values in parameters else parameter.grad
        torch.testing.assert_close(own.grad, wanted, msg=name)
    for name, buffer in dense.named_buffers():
        torch.testing.assert_close(sparse.network.get_buffer(name), buffer, msg=name)


def called_twice(net: Any, x: Tensor) -> Tensor:
    x = functional.relu(net.norm(net.a(x)))
    for _ in range(2):
        x = functional.relu(net.norm(net.b(x)))
    out: Tensor = net.fc(x.mean((2, 3)))
    return out


def relu_of_an_alias(net: Any, x: Tensor) -> Tensor:
    h = net.norm(net.a(x))
    out: Tensor = net.fc((functional.relu(h, inplace=True) + h).mean((2, 3)))
    return out


def relu_unassigned(net: Any, x: Tensor) -> Tensor:
    h = net.norm(net.a(x))
    h.relu_()
    y = net.b(h)
    y += h
    out: Tensor = net.fc(y.mean((2, 3)))
    return out


def batch_first(net: Any, x: Tensor) -> Tensor:
    n = x.shape[0]
    h = functional.relu(net.a(x))
    out: Tensor = net.fc(functional.adaptive_avg_pool2d(h, 1).view(n, -1))
    return out


def batch_of_the_middle(net: Any, x: Tensor) -> Tensor:
    h = functional.relu(net.a(x))
    n = h.size(0)
    out: Tensor = net.fc(functional.adaptive_avg_pool2d(net.b(h), 1).reshape(n, -1))
    return out


def pooled_as_function(net: Any, x: Tensor) -> Tensor:
    h = functional.max_pool2d(functional.relu(net.a(x)), 3, stride=2, padding=1)
    out: Tensor = net.fc(functional.max_pool2d(net.b(h), 2).mean((2, 3)))
    return out


def kept_dimensions(net: Any, x: Tensor) -> Tensor:
    out: Tensor = functional.relu(net.a(x)).mean((2, 3), keepdim=True)
    return out


def flattened_late(net: Any, x: Tensor) -> Tensor:
    pooled = functional.adaptive_avg_pool2d(functional.relu(net.a(x)), 1)
    return torch.flatten(pooled, 2)


def dead_end(net: Any, x: Tensor) -> Tensor:
    h = functional.relu(net.a(x))
    pooled = h.mean((2, 3))
    net.b(h)
    out: Tensor = net.fc(pooled)
    return out


def several_maps(net: Any, x: Tensor) -> Tensor:
    """As a detector uses its backbone: maps of different sizes, one read on by the network."""
    h = functional.relu(net.norm(net.a(x)))
    pooled = functional.max_pool2d(h, 2)
    g = functional.relu(net.norm2(net.b(pooled)) + pooled)
    joined = torch.cat([torch.sigmoid(h).flatten(1), torch.tanh(g).flatten(1)], 1)
    out: Tensor = torch.cat([joined, torch.exp(pooled.mean((2, 3)))], 1)
    return out


def a_map_beside_the_mean(net: Any, x: Tensor) -> Tensor:
    h = functional.relu(net.a(x))
    out: Tensor = net.fc(net.b(h).mean((2, 3))) + torch.sigmoid(h).mean((1, 2, 3))[:, None]
    return out


def a_map_that_nothing_learns_from(net: Any, x: Tensor) -> Tensor:
    h = functional.relu(net.a(x))
    out: Tensor = net.fc(net.b(h).mean((2, 3))) + torch.sigmoid(h.detach()).mean()
    return out


def pooled_shortcut(net: Any, x: Tensor) -> Tensor:
    h = functional.relu(net.a(x))
    out: Tensor = net.fc((net.b(h) + functional.avg_pool2d(h, 3, 1, 1)).mean((2, 3)))
    return out


def scaled(net: Any, x: Tensor) -> Tensor:
    out: Tensor = net.fc(functional.relu(net.a(x)).mean((2, 3))) * net.scale
    return out


@pytest.mark.parametrize(
    "how",
    [
        None,
        called_twice,
        relu_of_an_alias,
        relu_unassigned,
        batch_first,
        batch_of_the_middle,
        pooled_as_function,
        kept_dimensions,
        flattened_late,
        dead_end,
        several_maps,
        a_map_beside_the_mean,
        a_map_that_nothing_learns_from,
        pooled_shortcut,
        scaled,
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_forward_means_what_it_means_in_pytorch(
    how: Callable[[Any, Tensor], Tensor] | None, training: bool
) -> None:
    """Layers that are called twice, operations in place, shapes asked for, unused layers."""
    dense = pruned(Net(how)).train(training)
    sparse = sparsify_module(dense)
    back = sparse.to_state_dict()
    assert list(back) == list(dense.state_dict())
    assert all(torch.equal(back[name], value) for name, value in dense.state_dict().items())
    same(dense, sparse)


def test_batch_norms_in_evaluation_mode_keep_their_statistics() -> None:
    """Frozen before or after: a network in training mode whose batch norms are not."""
    for before in (True, False):
        dense = pruned(Net()).train()
        if before:
            dense.get_submodule("norm").eval()
        sparse = sparsify_module(dense)
        for network in (dense, sparse.network):
            network.get_submodule("norm").eval()
        same(dense, sparse)


def test_what_hangs_on_the_mode_follows_train_and_eval() -> None:
    def dropping(net: Any, x: Tensor) -> Tensor:
        h = functional.relu(net.a(x)).mean((2, 3))
        if net.training:
            h = 2 * h
        out: Tensor = net.fc(functional.dropout(h, 0.5, net.training))
        return out

    dense = pruned(Net(dropping)).train()
    sparse = sparsify_module(dense)
    for training in (True, False, True):
        dense.train(training)
        sparse.train(training)
        same(dense, sparse)
        dense.zero_grad()
        sparse.zero_grad()


def test_arguments_with_defaults_keep_them() -> None:
    class Optional(Net):
        def forward(self, x: Tensor, feats: Tensor | None = None, twice: bool = False) -> Any:
            h = functional.relu(self.a(x)).mean((2, 3))
            if feats is not None:
                h = h + feats
            return self.fc(2 * h if twice else h)

    dense = pruned(Optional())
    same(dense, sparsify_module(dense))


def test_pruning_hooks_are_applied_for_good_and_the_signs_of_zeros_stay() -> None:
    dense = Net().double()
    for name in ("a", "b"):
        prune.l1_unstructured(dense.get_submodule(name), "weight", 0.7)  # type: ignore[no-untyped-call]
    sparse = sparsify_module(dense)
    assert sum(layer.values.numel() for layer in sparse.convolutions().values()) == round(
        0.3 * (216 + 576)
    )
    torch.testing.assert_close(sparse(some_images()), dense(some_images()))
    for name in ("a", "b"):
        prune.remove(dense.get_submodule(name), "weight")  # type: ignore[no-untyped-call]
    back = sparsify_module(dense).to_state_dict()
    for name, value in dense.state_dict().items():
        if value.dtype == torch.float64:
            assert torch.equal(back[name].view(torch.int64), value.view(torch.int64)), name


def test_one_layer_under_two_names_stays_one() -> None:
    def both(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.fc(net.c(functional.relu(net.b(net.a(x)))).mean((2, 3)))
        return out

    dense = Net(both)
    dense.c = dense.b
    pruned(dense)
    sparse = sparsify_module(dense)
    same(dense, sparse)
    back = sparse.to_state_dict()
    assert list(back) == list(dense.state_dict())
    assert torch.equal(back["c.weight"], dense.b.weight)


def test_linear_layers_alone_can_be_sparse() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    kept = torch.rand(9, 12) < 0.3
    with torch.no_grad():
        dense.get_parameter("0.weight").mul_(kept)
    sparse = sparsify_module(dense)
    rows = torch.randn(7, 12).double()
    same(dense, sparse, rows)
    optimizer = torch.optim.SGD(sparse.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    sparse(rows).square().sum().backward()
    optimizer.step()
    assert not sparse.to_state_dict()["0.weight"][~kept].any()


def test_a_classifier_that_starts_from_zero_is_not_taken_for_a_pruned_one() -> None:
    dense = Net()
    nn.init.zeros_(dense.fc.weight)
    sparse = sparsify_module(pruned(dense))
    assert sparse.linears() == {}
    same(dense, sparse)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("adam", [True, False])
def test_a_loop_of_the_users_own_ends_where_the_dense_one_ends(momentum: float, adam: bool) -> None:
    """Accumulated and clipped gradients, changing batches; the mask of the dense one is kept
    by hand."""
    dense = pruned(Net()).train()
    kept = {n: p != 0 for n, p in dense.named_parameters() if p.ndim == 4}
    sparse = sparsify_module(dense)
    for network in (dense, sparse):
        optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(network.parameters(), 1e-3)
            if adam
            else torch.optim.SGD(network.parameters(), 0.05, momentum, weight_decay=1e-3)
        )
        for step in range(6):
            part = some_images(10 + step % 2)[: 2 + step % 3]
            network(part).square().mean().backward()
            if network is dense:
                for name, mask in kept.items():
                    grad = dense.get_parameter(name).grad
                    if grad is not None:  # of a layer that is used
                        grad.mul_(mask)
            if step % 2:
                nn.utils.clip_grad_norm_(network.parameters(), 0.1)
                optimizer.step()
                optimizer.zero_grad()
    back = sparse.to_state_dict()
    for name, value in dense.state_dict().items():
        torch.testing.assert_close(back[name], value, msg=name)


def test_copies_and_files_are_networks_of_their_own() -> None:
    dense = pruned(Net()).train()
    dense.get_submodule("norm").eval()
    sparse = sparsify_module(dense, threads=1)
    file = io.BytesIO()
    torch.save(sparse, file)
    file.seek(0)
    for other in (copy.deepcopy(sparse), torch.load(file, weights_only=False)):
        assert not other.network.get_submodule("norm").training
        same(copy.deepcopy(dense), other)
        assert all(p.grad is None for p in sparse.parameters())


def test_a_state_dict_of_another_mask_is_refused() -> None:
    dense = pruned(Net())
    sparse = sparsify_module(dense)
    sparse.load_state_dict(copy.deepcopy(sparse).state_dict())
    with torch.no_grad():
        weight = dense.get_parameter("b.weight")
        weight.copy_(weight.flip(0))
    other = sparsify_module(dense)
    with pytest.raises((SparsebenchError, RuntimeError), match="another mask"):
        sparse.load_state_dict(other.state_dict())


def test_a_changed_weight_between_the_passes_is_seen() -> None:
    sparse = sparsify_module(pruned(Net()))
    loss = sparse(some_images()).sum()
    with torch.no_grad():
        sparse.network.get_parameter("b.values").mul_(2)
    with pytest.raises(RuntimeError, match="in-place"):
        loss.backward()


def test_compiling_for_an_example_chooses_and_leaves_no_trace() -> None:
    dense = pruned(Net()).train().requires_grad_(False)
    torch.manual_seed(5)
    sparse = sparsify_module(dense, example_input=some_images())
    assert torch.initial_seed() == 5
    assert [choice.layer for choice in sparse.choices] == ["a", "b"]
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    for name, buffer in dense.named_buffers():
        assert torch.equal(sparse.network.get_buffer(name), buffer)


def test_images_of_many_sizes_do_not_add_up_in_memory() -> None:
    sparse = sparsify_module(pruned(Net()).train())

    def held() -> int:
        return sum(size * len(free) for size, free in sparse._memory._free.items())

    sparse(some_images(40)).sum().backward()
    most = held()
    for size in (12, 16, 20, 24, 28, 32, 36, 38, 39):
        sparse(some_images(size)).sum().backward()
        assert held() <= most
