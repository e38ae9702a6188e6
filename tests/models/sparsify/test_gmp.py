from __future__ import annotations

import torch

from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.gmp import GradualMagnitude, UniformGradualMagnitude, prunings
from sparsebench.models.sparsify.magnitude import global_magnitude_masks
from tests.models.sparsify.tiny import network, start_run


def test_threshold_is_global_and_keeps_exactly_the_rounded_number() -> None:
    weights = {"a": torch.tensor([[3.0, -0.1], [0.2, -5.0]]), "b": torch.tensor([0.3, 4.0, 0.0])}
    masks = global_magnitude_masks(weights, 0.5)  # round(3.5) = 4 of 7
    assert masks["a"].tolist() == [[True, False], [False, True]]
    assert masks["b"].tolist() == [True, True, False]


def test_ties_do_not_change_the_number_kept() -> None:
    masks = global_magnitude_masks({"a": torch.ones(10, 10)}, 0.93)
    assert int(masks["a"].sum()) == 7


def test_weights_removed_before_never_return_however_large() -> None:
    weights = {"a": torch.tensor([9.0, 1.0, 2.0, 3.0])}
    before = {"a": torch.tensor([False, True, True, True])}
    assert global_magnitude_masks(weights, 0.5, before)["a"].tolist() == [False, False, True, True]
    # Fewer left than asked for: all of them, and none of the removed.
    assert global_magnitude_masks(weights, 0.0, before)["a"].tolist() == [False, True, True, True]


def test_whole_schedule_never_revives_and_ends_exact() -> None:
    torch.manual_seed(0)
    module = network()
    run = start_run(module, total_steps=50, steps_per_epoch=10)
    method = GradualMagnitude(0.9)
    total = sum(w.numel() for w in run.weights.values())
    seen = {n: torch.ones_like(w, dtype=torch.bool) for n, w in run.weights.items()}
    for step in range(50):
        method.before_step(run, step)
        with torch.no_grad():  # an optimizer that pushes every weight away from zero
            for weight in run.weights.values():
                weight.add_(torch.randn_like(weight))
        method.after_step(run, step)
        now = mask_of(module)
        for name, mask in now.items():
            assert not bool((mask & ~seen[name]).any()), "a removed weight came back"
        seen = dict(now)
        planned = [s for t, s in prunings(50, 0.9).items() if t <= step]
        kept = sum(int(m.sum()) for m in now.values())
        assert kept == round((1 - planned[-1]) * total)
    assert abs(sparsity(mask_of(module)) - 0.9) <= 0.5 / total
    assert abs(method.current_sparsity(run) - 0.9) <= 0.5 / total


def test_first_convolution_and_classifier_are_ranked_with_the_others() -> None:
    module = network()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1.0)
        module.get_parameter("0.weight").fill_(0.01)
        module.get_parameter("7.weight").fill_(0.01)
    run = start_run(module, 10, 10)
    removed = run.weights["0.weight"].numel() + run.weights["7.weight"].numel()
    total = sum(w.numel() for w in run.weights.values())
    masks = global_magnitude_masks(run.weights, removed / total)
    assert [bool(m.any()) for m in masks.values()] == [False, True, False]


def test_uniform_leaves_the_first_layer_and_gives_the_others_the_same_share() -> None:
    torch.manual_seed(0)
    module = network(classes=10)  # 108 + 576 + 160 weights
    run = start_run(module, total_steps=50, steps_per_epoch=10)
    method = UniformGradualMagnitude(0.6)
    before = {name: weight.detach().clone() for name, weight in run.weights.items()}
    for step in range(50):
        method.before_step(run, step)
        method.after_step(run, step)
    masks = mask_of(module)
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    assert sum(kept.values()) == 844 - round(0.6 * 844)
    first, *others = kept
    assert kept[first] == 108
    shares = [kept[name] / masks[name].numel() for name in others]
    assert max(shares) - min(shares) < 1 / 160
    for name in others:  # the largest of each layer, by its own ranking
        largest = before[name].abs().flatten().topk(kept[name]).indices
        assert bool(masks[name].flatten()[largest].all())
