"""The settings of a training: checked before any work, fitted to the folder of images."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparsebench.models.architectures import find_architecture
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.methods import METHODS
from sparsebench.models.names import PATTERN_SPARSITY
from sparsebench.models.patterns import PATTERNS
from sparsebench.models.sparsify.method import Method, Recipe

# A small folder is cut into at least so many batches an epoch, of at least so many images.
FEWEST_STEPS = 16
SMALLEST_BATCH = 8
SMALLEST_SIZE = 8  # pixels
MOST_IN_A_BLOCK = 64  # input channels


def make_method(name: str, sparsity: float, block: int = 1, pattern: str = "") -> Method:
    """The method of a name, for a sparsity of 0 to 1.

    Args:
        name: a name in :data:`sparsebench.models.methods.METHODS`.
        sparsity: share of zeros, 0 to 1.
        block: input channels that are pruned together.
        pattern: of the zeros, ``2:4``; empty for none.

    Raises:
        UnknownNameError: no such method or pattern.
        SparsebenchError: a sparsity, blocks or a pattern that it cannot have.
    """
    chosen = METHODS.load(name)
    if name == "dense" and sparsity != 0.0:
        raise SparsebenchError("Dense training has sparsity 0.", "Leave the sparsity out.")
    if name != "dense" and not 0.0 < sparsity < 1.0:
        raise SparsebenchError(
            f"A sparsity of {sparsity:g} cannot be reached by pruning.",
            "Give a share between 0 and 1, for example 0.9.",
        )
    made = chosen(sparsity)
    assert isinstance(made, Method)
    if block != 1:
        _check_block(made, block)
        made.block = block
    if pattern:
        _check_pattern(made, pattern)
        made.pattern = pattern
    return made


def _check_pattern(method: Method, pattern: str) -> None:
    if pattern not in PATTERNS:
        raise UnknownNameError("pattern", pattern, PATTERNS)
    if not method.has_patterns:
        able = [n for n in METHODS if METHODS.load(n).has_patterns]
        raise SparsebenchError(
            f"{method.name} does not prune in a pattern.", f"These do: {', '.join(able)}."
        )
    if method.block != 1:
        raise SparsebenchError("Blocks have no pattern.", "Take --block or --pattern, not both.")
    if method.sparsity != PATTERN_SPARSITY:
        raise SparsebenchError(
            f"The pattern {pattern} keeps half of the weights; a sparsity of "
            f"{method.sparsity:g} is another network.",
            "Leave --sparsity out.",
        )


def _check_block(method: Method, block: int) -> None:
    if not 1 <= block <= MOST_IN_A_BLOCK:
        raise SparsebenchError(
            f"Blocks of {block} input channels cannot be pruned.",
            f"Give 1 (single weights) to {MOST_IN_A_BLOCK}, for example 4.",
        )
    if not method.has_blocks:
        able = [n for n in METHODS if METHODS.load(n).has_blocks]
        raise SparsebenchError(
            f"{method.name} does not prune in blocks.", f"These do: {', '.join(able)}."
        )


def changed_recipe(default: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with some fields changed.

    Raises:
        SparsebenchError: it has no such field.
    """
    unknown = sorted(set(changes) - set(asdict(default)))
    if unknown:
        raise SparsebenchError(
            f"A recipe has no setting {', '.join(unknown)}.",
            f"It has {', '.join(asdict(default))}.",
        )
    if "sides" in changes:  # lists, where they come from TOML
        changes = {**changes, "sides": tuple((float(a), int(b)) for a, b in changes["sides"])}
    return replace(default, **changes)


def fitting(recipe: Recipe, images: int, given: dict[str, Any]) -> Recipe:
    """The recipe with a batch size for so many images, and the learning rate scaled with it.

    Raises:
        SparsebenchError: fewer than two images.
    """
    if images < 2:
        raise SparsebenchError(f"{images} image is too few to train on.", "Give more.")
    wanted = min(recipe.batch_size, max(SMALLEST_BATCH, images // FEWEST_STEPS), images)
    if "batch_size" in given or wanted == recipe.batch_size:
        return recipe
    rate = recipe.learning_rate * wanted / recipe.batch_size
    return replace(recipe, batch_size=wanted, learning_rate=rate)


def check_settings(
    arch: str,
    method: str,
    sparsity: float,
    epochs: int,
    out: Path,
    start: str | Path | None,
    overwrite: bool,
    size: int,
    seed: int,
    recipe: dict[str, Any],
    block: int = 1,
    pattern: str = "",
) -> Method:
    """The method, once nothing is known that would end its training late.

    Raises:
        SparsebenchError: whatever is wrong with the arguments of
            :func:`sparsebench.models.sparsify.produce.sparsify`.
    """
    chosen = make_method(method, sparsity, block, pattern)
    find_architecture(arch)
    changed_recipe(chosen.recipe, recipe)
    check_wish(chosen, epochs, out, start, overwrite)
    check_place(out)
    check_numbers(size, seed, recipe)
    return chosen


def check_place(out: Path) -> None:
    """Whether a file can be written there: now, not after hours of training."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise SparsebenchError(
            f"{out} cannot be written: {error.strerror}.", "Name a place where you may write."
        ) from error


def check_numbers(size: int, seed: int, recipe: dict[str, Any]) -> None:
    """Whether anything can be trained with these numbers."""
    if size < SMALLEST_SIZE:
        raise SparsebenchError(
            f"Images of size {size} are too small.", f"Give {SMALLEST_SIZE} pixels or more."
        )
    if seed < 0:
        raise SparsebenchError(f"The seed {seed} is negative.", "Give 0 or more.")
    if recipe.get("batch_size", 2) < 2:
        raise SparsebenchError(
            f"A batch of {recipe['batch_size']} cannot be trained on.", "Give 2 or more."
        )
    if recipe.get("learning_rate", 1.0) <= 0:
        raise SparsebenchError(
            f"A learning rate of {recipe['learning_rate']:g} trains nothing.", "Give more than 0."
        )


def check_wish(
    method: Method, epochs: int, out: Path, start: str | Path | None, overwrite: bool
) -> None:
    """Whether a method can start, and end in this file."""
    if epochs < 1:
        raise SparsebenchError(f"{epochs} epochs are not enough.", "Give 1 or more.")
    if method.needs_start and start is None:
        raise SparsebenchError(
            f"{method.name} prunes a network that is trained already.",
            "Name a dense checkpoint or backbone to start from.",
        )
    if out.suffix != ".safetensors":
        raise SparsebenchError(f"{out} is not a *.safetensors file.", "Name one.")
    if out.exists() and not overwrite:
        raise SparsebenchError(f"{out} is there already.", "Choose another name or remove it.")
