from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.acdc import AlternatingCompression, phase_table
from tests.models.sparsify.tiny import network, start_run


def test_hundred_epochs_give_the_published_phase_table() -> None:
    # Peste et al. 2021, ImageNet: dense 0-9, then 5 sparse / 5 dense, sparse 70-74,
    # dense 75-84, sparse 85-99.
    table = phase_table(100, epochs=100)
    dense = [(0, 10), *[(a, a + 5) for a in range(15, 70, 10)], (75, 85)]
    sparse = [*[(a, a + 5) for a in range(10, 75, 10)], (85, 100)]
    assert [(p.start, p.end) for p in table if not p.sparse] == dense
    assert [(p.start, p.end) for p in table if p.sparse] == sparse


def test_twelve_epochs_have_phases_of_one_epoch() -> None:
    table = phase_table(1200, epochs=12)
    assert [(p.start // 100, p.end // 100) for p in table] == [
        (0, 2),
        (2, 3),
        (3, 4),
        (4, 5),
        (5, 6),
        (6, 7),
        (7, 9),
        (9, 12),
    ][: len(table)]
    assert [p.sparse for p in table] == [False, True] * 4


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 8, 13, 40, 250])
def test_any_length_starts_dense_alternates_and_ends_sparse(epochs: int) -> None:
    table = phase_table(epochs * 37, epochs)
    assert table[0].start == 0
    assert table[-1].end == epochs * 37
    assert not table[0].sparse
    assert table[-1].sparse
    for before, after in pairwise(table):
        assert before.end == after.start
        assert before.sparse != after.sparse


@pytest.mark.parametrize("steps", [*range(1, 12), 20])
def test_the_shortest_training_ends_sparse(steps: int) -> None:
    table = phase_table(steps, epochs=1)
    assert table[-1].sparse and table[-1].end == steps > table[-1].start
    assert [phase.start for phase in table] == [0, *[phase.end for phase in table[:-1]]]


def test_dense_phase_restarts_removed_weights_from_zero_and_forgets_momentum() -> None:
    torch.manual_seed(0)
    module = network()
    run = start_run(module, total_steps=80, steps_per_epoch=10)  # eight units of ten steps
    method = AlternatingCompression(0.9)
    total = sum(w.numel() for w in run.weights.values())
    phases = phase_table(80, 8)
    dense_again = next(p for p in phases[1:] if not p.sparse)
    for step in range(dense_again.start):
        method.before_step(run, step)
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        run.optimizer.step()
        method.after_step(run, step)
    assert abs(sparsity(mask_of(module)) - 0.9) <= 0.5 / total
    momenta = [s["momentum_buffer"] for s in run.optimizer.state.values()]
    assert all(bool(m.any()) for m in momenta)
    kept = {n: w.detach().clone() for n, w in run.weights.items()}

    method.before_step(run, dense_again.start)
    assert method.masks == {}
    assert not any(bool(m.any()) for m in momenta)
    for name, weight in run.weights.items():
        assert torch.equal(weight, kept[name])  # zeros stay zeros, the others stay

    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    method.after_step(run, dense_again.start)
    # From zero, without momentum: one plain step of lr * gradient.
    for name, weight in run.weights.items():
        assert torch.allclose(weight[kept[name] == 0], torch.tensor(-0.1))


def test_mask_is_fixed_within_a_sparse_phase_and_chosen_anew_in_the_next() -> None:
    torch.manual_seed(0)
    module = network()
    run = start_run(module, total_steps=120, steps_per_epoch=10)
    method = AlternatingCompression(0.8)
    patterns: dict[int, list[dict[str, torch.Tensor]]] = {}
    phases = phase_table(120, 12)
    for step in range(120):
        method.before_step(run, step)
        with torch.no_grad():
            for weight in run.weights.values():
                weight.add_(torch.randn_like(weight))
        method.after_step(run, step)
        phase = next(p for p in phases if p.start <= step < p.end)
        if phase.sparse:
            patterns.setdefault(phase.start, []).append(dict(mask_of(module)))
        else:
            assert method.current_sparsity(run) == 0.0
    firsts = [p[0] for p in patterns.values()]
    assert len(firsts) == 4
    for pattern, first in zip(patterns.values(), firsts, strict=True):
        for later in pattern:
            assert all(torch.equal(later[n], first[n]) for n in first)
    assert any(not torch.equal(firsts[0][n], firsts[1][n]) for n in firsts[0])
    assert len(patterns[90]) == 30  # the final sparse phase lasts to the end
