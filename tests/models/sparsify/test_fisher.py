from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sparsebench.models.sparsify import fisher
from sparsebench.models.sparsify.fisher import BlockInverse, MatrixFreeInverse, collect_gradients
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.mfac import MatrixFree, steps_of_density
from sparsebench.models.sparsify.surgeon import remove_cheapest
from sparsebench.models.sparsify.woodfisher import WoodFisher, few_prunings
from tests.models.sparsify.tiny import network, weights_of

DAMP = 1e-3


def gradients(count: int, size: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(0)).double()


def dense_inverse(rows: Tensor, damp: float = DAMP) -> Tensor:
    fisher_matrix = rows.T @ rows / len(rows) + damp * torch.eye(rows.shape[1]).double()
    inverse: Tensor = torch.linalg.inv(fisher_matrix)
    return inverse


def sherman_morrison(rows: Tensor, damp: float = DAMP) -> Tensor:
    """The recursion of the WoodFisher paper, one gradient at a time."""
    inverse = torch.eye(rows.shape[1]).double() / damp
    for g in rows:
        along = inverse @ g
        inverse = inverse - torch.outer(along, along) / (len(rows) + g @ along)
    return inverse


def whole(inverse: BlockInverse | MatrixFreeInverse, size: int) -> Tensor:
    columns = [inverse.times(e) for e in torch.eye(size).double()]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("chunk", [2**18, 8])
def test_block_inverse_is_the_dense_inverse_of_every_block(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "_CHUNK", chunk)
    rows = gradients(7, 26)
    ours = BlockInverse(rows, [10, 13, 3], block=5, damp=DAMP)
    expected = torch.zeros(26, 26).double()
    # Blocks never reach over the end of a tensor.
    for start, end in [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23), (23, 26)]:
        expected[start:end, start:end] = dense_inverse(rows[:, start:end])
    assert torch.allclose(whole(ours, 26), expected, rtol=1e-9)
    assert torch.allclose(ours.diagonal(), expected.diagonal(), rtol=1e-9)
    one = sherman_morrison(rows[:, :5])
    assert torch.allclose(whole(ours, 26)[:5, :5], one, rtol=1e-9)


@pytest.mark.parametrize("chunk", [2**18, 8])
def test_matrix_free_inverse_is_the_explicit_inverse(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "_CHUNK", chunk)
    rows = gradients(9, 20)
    ours = MatrixFreeInverse(rows, DAMP)
    assert torch.allclose(whole(ours, 20), dense_inverse(rows), rtol=1e-8, atol=1e-8)
    assert torch.allclose(ours.diagonal(), dense_inverse(rows).diagonal(), rtol=1e-8)


def test_single_precision_is_close_at_the_published_dampening() -> None:
    rows = gradients(16, 300) * 0.01  # the size of gradients in a network
    expected = dense_inverse(rows, 1e-5)
    vector = torch.randn(300, generator=torch.Generator().manual_seed(1))
    for ours in (
        BlockInverse(rows.float(), [300], 300, 1e-5),
        MatrixFreeInverse(rows.float(), 1e-5),
    ):
        scale = float(expected.diagonal().max())
        assert float((ours.diagonal() - expected.diagonal()).abs().max()) < 1e-4 * scale
        product = expected @ vector.double()
        assert torch.allclose(ours.times(vector).double(), product, atol=1e-3 * scale)


def test_removal_is_by_cost_and_the_others_are_updated() -> None:
    # Two correlated weights and one alone: removing a part of a pair is cheap, because the
    # other one takes over.
    rows = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    inverse = dense_inverse(rows)
    weight = torch.nn.Parameter(torch.tensor([0.9, 1.0, 0.5]).double())
    cost = weight.detach() ** 2 / (2 * inverse.diagonal())
    assert int(cost.argmin()) == 0  # though the last one is the smallest
    expected = weight.detach() - weight.detach()[0] / inverse[0, 0] * inverse[:, 0]
    block = BlockInverse(rows, [3], 3, DAMP)
    masks = remove_cheapest({"w": weight}, {}, block, 1 / 3)
    assert masks["w"].tolist() == [False, True, True]
    assert float(weight[0].detach()) == 0.0
    assert torch.allclose(weight.detach()[1:], expected[1:])
    assert float(weight[1].detach()) == pytest.approx(1.9, abs=0.01)  # it took over


def test_updates_of_several_removed_weights_add_up() -> None:
    rows = gradients(6, 8)
    inverse = dense_inverse(rows)
    start = torch.linspace(0.1, 0.8, 8).double()
    weight = torch.nn.Parameter(start.clone())
    masks = remove_cheapest({"w": weight}, {}, MatrixFreeInverse(rows, DAMP), 0.5)
    removed = ~masks["w"]
    assert int(removed.sum()) == 4
    expected = start.clone()
    for q in removed.nonzero().flatten().tolist():
        expected -= start[q] / inverse[q, q] * inverse[:, q]
    assert torch.allclose(weight.detach()[~removed], expected[~removed], rtol=1e-6)
    assert not bool(weight.detach()[removed].any())
    cost = start**2 / inverse.diagonal()
    assert float(cost[removed].max()) <= float(cost[~removed].min())


def run_with_images(total_steps: int = 100) -> Run:
    torch.manual_seed(0)
    batches = [
        (torch.randn(8, 3, 8, 8), torch.tensor([0, 1] * 4)),
        (torch.randn(8, 3, 8, 8), torch.tensor([1, 0] * 4)),
    ]
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    return Run(module, weights_of(module), optimizer, total_steps, 10, lambda: iter(batches))


def test_gradients_are_those_of_groups_in_eval_mode_within_the_mask() -> None:
    run = run_with_images()
    run.module.train()
    mask = {n: torch.rand_like(w) < 0.5 for n, w in run.weights.items()}
    before = run.module.get_buffer("1.running_mean").clone()
    rows, count = collect_gradients(run, mask, count=10, group_size=4)
    assert count == len(rows) == 4  # 16 images in groups of 4
    assert run.module.training
    assert torch.equal(run.module.get_buffer("1.running_mean"), before)
    images, labels = next(run.batches())
    run.module.eval()
    loss = torch.nn.functional.cross_entropy(run.module(images[4:]), labels[4:])
    expected = torch.autograd.grad(loss, list(run.weights.values()))
    flat = torch.cat([(g * mask[n]).flatten() for g, n in zip(expected, mask, strict=True)])
    assert torch.allclose(rows[1], flat, atol=1e-6)


@pytest.mark.parametrize("made", [WoodFisher, MatrixFree])
def test_removed_weights_stay_removed_and_the_schedule_is_kept(made: type[WoodFisher]) -> None:
    run = run_with_images()
    method = made(0.9)
    schedule = few_prunings(100, 0.9)
    assert len(schedule) == 8
    assert list(schedule.values())[::7] == pytest.approx([0.05, 0.9])
    assert list(schedule)[::7] == [1, 40]
    total = sum(w.numel() for w in run.weights.values())
    gone = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in run.weights.items()}
    for step in range(100):
        method.before_step(run, step)
        if step in schedule:
            kept = sum(int(w.count_nonzero()) for w in run.weights.values())
            assert kept == round((1 - schedule[step]) * total)
        for name, weight in run.weights.items():
            assert not bool(weight[gone[name]].any())
            gone[name] = weight == 0


def test_density_falls_by_equal_ratios() -> None:
    levels = steps_of_density(0.5, 0.9)
    assert levels[-1] == 0.9
    densities = [0.5, *(1 - level for level in levels)]
    ratios = [b / a for a, b in pairwise(densities)]
    assert ratios == pytest.approx([0.2 ** (1 / 4)] * 4)
