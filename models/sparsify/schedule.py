"""Schedules as plain functions of progress: learning rates and sparsity."""

from __future__ import annotations


def one_cycle(progress: float, warmup: float = 0.2) -> float:
    """Linear rise to 1, then linear fall to 0.

    Args:
        progress: share of the training that is done, 0 to 1.
        warmup: share of the training spent rising.

    Returns:
        Factor of the peak learning rate, 0 to 1.
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1.0 - progress) / (1.0 - warmup))


def hold_then_decay(progress: float, hold: float, warmup: float = 0.0) -> float:
    """Linear rise, constant until ``hold``, then linear fall to 0.

    Args:
        progress: share of the training that is done, 0 to 1.
        hold: share of the training at which the fall begins.
        warmup: share of the training spent rising.

    Returns:
        Factor of the peak learning rate, 0 to 1.
    """
    if progress < warmup:
        return progress / warmup
    if progress < hold:
        return 1.0
    return max(0.0, (1.0 - progress) / (1.0 - hold)) if hold < 1.0 else 0.0


def cubic_sparsity(t: float, start: float, end: float, initial: float, final: float) -> float:
    """Sparsity of gradual magnitude pruning at time ``t``.

    ``s(t) = s_f + (s_i - s_f) (1 - (t - t_0) / (t_n - t_0))^3``, clamped outside the interval
    (Zhu & Gupta 2017, "To prune, or not to prune", equation 1).

    Args:
        t: time, in the unit of ``start`` and ``end`` (steps or epochs).
        start: time of the first pruning.
        end: time at which the final sparsity is reached.
        initial: sparsity at ``start``, 0 to 1.
        final: sparsity at ``end``, 0 to 1.
    """
    if end <= start:
        return final
    rest = 1.0 - min(1.0, max(0.0, (t - start) / (end - start)))
    return final + (initial - final) * rest**3
