"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsebench.models.errors import SparsebenchError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of a table.")]
Format = Annotated[
    str,
    typer.Option(
        "--format", metavar="terminal|markdown|latex|csv", help="How the tables are written."
    ),
]
AllowImageLoss = Annotated[
    bool,
    typer.Option("--allow-image-loss", help="Go on even where a class loses most of its images."),
]


def certainty(text: str, option: str) -> float:
    """``95%`` or ``0.95`` as a probability of one half or more.

    Raises:
        SparsebenchError: it is neither.
    """
    value = fraction(text, option)
    if value < 0.5:
        raise SparsebenchError(
            f"'{option} {text}' is less likely than not.", "Ask for 50% or more, such as 95%."
        )
    return value


def fraction(text: str, option: str) -> float:
    """``5%`` or ``0.05`` as a fraction.

    Raises:
        SparsebenchError: it is neither, or not between 0 and 1.
    """
    try:
        value = float(text.rstrip("% ")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise SparsebenchError(
            f"'{option} {text}' is not a valid share.", "Write it as 5% or 0.05."
        )
    return value
