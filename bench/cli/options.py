"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.say import echo
from sparsebench.models.errors import SparsebenchError, UnknownNameError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of a table.")]


def _a_form(form: str) -> str:
    """A form of tables, looked up before a minute is spent on what they show.

    Raises:
        UnknownNameError: there is no such form.
    """
    if form:
        from sparsebench.bench.present.table import FORMATS

        if form not in ("terminal", *FORMATS):
            raise UnknownNameError("format", form, ("terminal", *FORMATS))
    return form


Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="terminal|markdown|latex|csv",
        callback=_a_form,
        help="How the tables are written.",
    ),
]
AllowImageLoss = Annotated[
    bool,
    typer.Option("--allow-image-loss", help="Go on even where a class loses most of its images."),
]


STANDARD_OUTPUT = Path("-")


def a_place(path: Path | None) -> Path | None:
    """A folder, or a file that is no text: `-` is none, and would become a file of that name.

    Raises:
        SparsebenchError: it is standard output.
    """
    if path == STANDARD_OUTPUT:
        raise SparsebenchError(
            "'-' stands for standard output, which takes one text only.",
            "Name a file or folder for what this option writes.",
        )
    return path


def one_text(as_json: bool, *paths: Path | None) -> None:
    """Refuse two texts on standard output.

    Args:
        as_json: whether JSON is printed.
        paths: of the texts to write; `-` is standard output.

    Raises:
        SparsebenchError: there are two.
    """
    if as_json + paths.count(STANDARD_OUTPUT) > 1:
        raise SparsebenchError(
            "Two texts would be mixed on standard output.",
            "Give '-' to one option, without --json.",
        )


def write(path: Path, text: str) -> None:
    """Write one text: to a file, or with `-` to standard output.

    Raises:
        SparsebenchError: it cannot be written.
    """
    if path == STANDARD_OUTPUT:
        echo(text.removesuffix("\n"))
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be written ({error.strerror}).") from error


def certainty(text: str, option: str) -> float:
    """``95%`` or ``0.95`` as a probability of one half or more.

    Raises:
        SparsebenchError: it is neither.
    """
    value = fraction(text, option, "95% or 0.95")
    if value < 0.5:
        raise SparsebenchError(
            f"'{option} {text}' is less likely than not.", "Ask for 50% or more, such as 95%."
        )
    return value


def fraction(text: str, option: str, example: str = "5% or 0.05") -> float:
    """``5%`` or ``0.05`` as a fraction.

    Args:
        text: as it was typed.
        option: where.
        example: how it is written, for the message.

    Raises:
        SparsebenchError: it is neither, or not between 0 and 1.
    """
    try:
        value = float(text.rstrip("% ")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise SparsebenchError(
            f"'{option} {text}' is not a valid share.", f"Write it as {example}."
        )
    return value
