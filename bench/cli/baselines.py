"""The option ``--dense``: which dense network each sparse one is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sparsebench.models.errors import SparsebenchError

AUTO = "auto"


def named_baselines(options: Sequence[str], backbones: Iterable[str]) -> dict[str, str]:
    """Sparse backbone -> its dense baseline.

    Args:
        options: each ``SPARSE=DENSE``, or ``DENSE`` for all sparse backbones of the run, or
            ``auto`` for the one that is usual for their architecture.
        backbones: of the run.

    Raises:
        SparsebenchError: an option is none of these, or a backbone does not exist or is none of
            the run's.
    """
    from sparsebench.models.zoo import find_card

    backbones = list(backbones)
    pairs = dict(pair for text in options if (pair := _pair(text, backbones)))
    for text in options:
        if text in (AUTO, "") or _pair(text, backbones) is None:
            if text != AUTO and not _exists(text):
                raise SparsebenchError(
                    f"'--dense {text}': there is no file and no dense backbone of that name.",
                    "Give SPARSE=DENSE, a backbone for all sparse ones, or auto.",
                )
            cards = {name: find_card(name) for name in backbones}
            for name, card in cards.items():
                if card.family != "dense":
                    pairs.setdefault(name, card.dense_partner if text == AUTO else text)
    for sparse in pairs:
        if sparse not in backbones:
            raise SparsebenchError(
                f"--dense names a baseline of '{sparse}', which this run does not measure.",
                f"Its backbones are {', '.join(backbones)}: write one as it stands there.",
            )
    return pairs


def _pair(text: str, backbones: Sequence[str]) -> tuple[str, str] | None:
    """SPARSE=DENSE; a file's name may hold "=" too, so the split whose sides exist is taken."""
    parts = text.split("=")
    splits = [("=".join(parts[:i]), "=".join(parts[i:])) for i in range(1, len(parts))]
    splits = [(sparse, dense) for sparse, dense in splits if sparse and dense]
    if not splits:
        return None
    best = max(splits, key=lambda pair: sum(_exists(name) for name in pair))
    if best[0] not in backbones and not any(_exists(name) for name in best):
        return None  # a file that is not there, with a "=" in its name
    return None if _exists(text) and not all(_exists(name) for name in best) else best


def _exists(name: str) -> bool:
    from sparsebench.models.checkpoints import split_entry
    from sparsebench.models.zoo import find_card

    source = name.partition("@")[2] or name
    if split_entry(source)[0].is_file():
        return True
    try:
        find_card(name)
    except SparsebenchError:
        return False
    return True
