"""Images that a data set loses: of an ending that is not read, or that cannot be decoded.

A class that silently keeps 3 of 20 images trains a classifier of something else. So what is
left out is counted by class and ending, shown and recorded; a class that would lose most of
its images needs the user's consent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.text import printable, shortened

UNDECODABLE = "that cannot be decoded"


def others_said(others: Mapping[str, int]) -> str:
    """A sentence on files beside images, by their endings; empty where there are none."""
    counts = [f"{n:,} {printable(e)}" for e, n in sorted(others.items(), key=lambda one: -one[1])]
    files = "files" if sum(others.values()) > 1 else "file"
    return f"{shortened(counts)} {files} beside the images are no images" if counts else ""


@dataclass(frozen=True)
class ClassLoss:
    """What one class of one side loses.

    Attributes:
        kept: images that are left.
        left_out: ending -> files; :data:`UNDECODABLE` behind the ending where that is why.
    """

    kept: int
    left_out: dict[str, int]

    @property
    def lost(self) -> int:
        """Files left out."""
        return sum(self.left_out.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {printable(e)}" for e, n in sorted(self.left_out.items()))
        return f"keeps {self.kept} of {self.kept + self.lost} images (left out: {parts})"


@dataclass(frozen=True)
class Losses:
    """The classes that lose images.

    Attributes:
        classes: ``train/CLASS`` or ``test/CLASS`` -> its loss.
    """

    classes: Mapping[str, ClassLoss] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Files left out of all classes."""
        return sum(loss.lost for loss in self.classes.values())

    def lines(self, most: int = 8) -> list[str]:
        """A sentence for each class, the greatest losses first; at most so many."""
        ordered = sorted(self.classes.items(), key=lambda item: (-item[1].lost, item[0]))
        said = [f"{printable(name)} {loss}" for name, loss in ordered[:most]]
        if rest := ordered[most:]:
            said.append(
                f"{len(rest)} more classes lose {sum(loss.lost for _, loss in rest)} images"
            )
        return said

    def to_json(self) -> dict[str, dict[str, Any]]:
        """For a record."""
        return {
            name: {"kept": loss.kept, "left_out": dict(sorted(loss.left_out.items()))}
            for name, loss in sorted(self.classes.items())
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Mapping[str, Any]]) -> Losses:
        """What :meth:`to_json` made."""
        return cls({n: ClassLoss(int(d["kept"]), dict(d["left_out"])) for n, d in data.items()})

    def refuse_most(self, where: str) -> None:
        """Refuse a data set of which a class loses most of its images.

        Raises:
            SparsebenchError: one does; says which, and how to agree.
        """
        hit = {name: loss for name, loss in self.classes.items() if loss.lost > loss.kept}
        if hit:
            raise SparsebenchError(
                f"'{where}' would lose most images of {len(hit)} class(es): "
                f"{shortened(Losses(hit).lines(), 3)}.",
                "Convert or rename them to JPEG or PNG; or agree with --allow-image-loss "
                "(allow_image_loss = true in a plan).",
            )
