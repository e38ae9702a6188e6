from __future__ import annotations

import torch

from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.topkast import TopKast
from tests.models.sparsify.tiny import network, weights_of

DECAY = 0.01


def started(sparsity: float) -> tuple[Run, TopKast]:
    torch.manual_seed(0)
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=DECAY)
    run = Run(module, weights_of(module), optimizer, 1000, 10, lambda: iter(()))
    method = TopKast(sparsity)
    method.prepare(run)
    method.on_start(run)
    return run, method


def one_step(run: Run, method: TopKast, step: int, slope: float = 1.0) -> dict[str, torch.Tensor]:
    """A step with all gradients ``slope``; the weights that the network computed with."""
    method.before_step(run, step)
    used = {n: w.detach().clone() for n, w in run.weights.items()}
    for parameter in run.module.parameters():
        parameter.grad = torch.full_like(parameter, slope)
    assert method.after_backward(run, step)
    run.optimizer.step()
    method.after_step(run, step)
    return used


def test_the_network_computes_with_the_largest_weights_of_each_layer() -> None:
    run, method = started(0.6)
    whole = {n: w.detach().clone() for n, w in run.weights.items()}
    used = one_step(run, method, 0)
    for name in ("3.weight", "7.weight"):
        kept = used[name] != 0
        assert torch.equal(used[name][kept], whole[name][kept])
        assert float(whole[name][kept].abs().min()) >= float(whole[name][~kept].abs().max())
    assert bool((used["0.weight"] != 0).all())  # the first convolution stays dense
    zeros = sum(int((u == 0).sum()) for u in used.values())
    assert zeros == round(0.6 * sum(u.numel() for u in used.values()))


def test_only_the_larger_set_moves_and_decays_by_the_exploration_regularizer() -> None:
    run, method = started(0.8)
    name, weight = "3.weight", run.weights["3.weight"]
    before = weight.detach().clone()
    one_step(run, method, 0, slope=0.0)  # what remains is the regularizer
    forward, backward = method.masks[name], method.backward_masks[name]
    assert bool((backward | ~forward).all())  # A lies in B
    assert int(backward.sum()) == 2 * int(forward.sum())
    density = int(forward.sum()) / forward.numel()
    moved = before - weight.detach()
    only_b = backward & ~forward
    assert torch.allclose(moved[forward], 0.1 * DECAY * before[forward], atol=1e-8)
    assert torch.allclose(moved[only_b], 0.1 * DECAY / density * before[only_b], atol=1e-8)
    assert not bool(moved[~backward].any())
    # Batch norm and biases decay as usual.
    assert run.optimizer.param_groups[0]["weight_decay"] == DECAY


def test_weights_outside_the_larger_set_stand_still_even_after_leaving_it() -> None:
    run, method = started(0.8)
    for step in range(10):
        one_step(run, method, step)
    name, weight = "3.weight", run.weights["3.weight"]
    left = method.backward_masks[name].clone()
    with torch.no_grad():  # what was large becomes small and leaves both sets
        weight.copy_(torch.where(left, weight * 1e-3, weight))
    before = weight.detach().clone()
    one_step(run, method, 10)
    out = ~method.backward_masks[name]
    assert bool((out & left).any())
    assert torch.equal(weight.detach()[out], before[out])


def test_what_is_written_is_the_forward_set() -> None:
    run, method = started(0.9)
    for step in range(20):
        one_step(run, method, step)
    assert sparsity(mask_of(run.module)) == 0.0  # the dense weights live on until the end
    method.on_end(run)
    assert abs(sparsity(mask_of(run.module)) - 0.9) < 0.001
    assert abs(method.current_sparsity(run) - 0.9) < 0.001
