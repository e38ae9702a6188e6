"""Variants: the same backbone in another shape, the part of a name after ``+``.

A variant is one function in a file of its own and one line in :data:`VARIANTS`; code
outside this repository adds its own through the entry-point group
``sparsebench.variants``. The function takes a network and its architecture's name and
returns another network with the same outputs, within float error, in eval mode. Nothing
here imports torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.models.found import Found
    from sparsebench.models.names import BackboneName

VARIANTS = Registry(
    "variant", "sparsebench.variants", {"compact": "sparsebench.models.compaction:compact_variant"}
)


def vary(name: BackboneName, found: Found) -> Found:
    """The variant of a backbone: its card, and how it is made.

    Args:
        name: asked for, with a variant.
        found: the backbone in its own shape.

    Raises:
        UnknownNameError: no variant has this name.
        SparsebenchError: the backbone is dense.
    """
    from sparsebench.models.found import Found

    assert name.variant is not None
    target = VARIANTS.target(name.variant)
    if found.card.family == "dense":
        raise SparsebenchError(
            f"'{name}' asks for a variant of a dense backbone, which others are compared with.",
            f"Name '{found.card.name}', or a variant of a sparse backbone.",
        )
    card = replace(
        found.card,
        name=str(name),
        sha256=None,
        notes=f"'{found.card.name}' in the shape '{name.variant}'. {found.card.notes}".strip(),
    )

    def load() -> nn.Module:
        from sparsebench.models.registry import load_target

        module: nn.Module = load_target(target)(found.load().eval(), card.arch)
        return module

    return Found(card, load, said=found.said, absent=found.absent)
