"""The grammar of backbone names: ``<arch>/<method>-<sparsity>[+<variant>][@<source>]``.

Sparsity is written in percent (``acdc-90``, ``str-97.5``); ``dense`` has none. A variant
(``+compact``) is the same backbone in another shape (``models/variants.py``); of a dense one
(``dense+epochs17``) it is a longer training, which the zoo ships under that name. The source
is a word (``generated``, ``torchvision``) or the path of a checkpoint file; without one,
the weights are those that the suite ships. An architecture of timm or torchvision has its
library in front (``timm:convnext_atto/gmp-90``). The path of an ONNX file alone (``my.onnx``) is a
name too, of a network without an architecture's name (``models/sources/onnx_file.py``).

A method that prunes in blocks carries their size: ``gmp_block4-90`` is ``gmp`` in blocks of four
input channels (``models/blocks.py``); ``gmp_2of4-50`` is ``gmp`` in the pattern 2:4
(``models/patterns.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sparsebench.models.errors import SparsebenchError

DENSE = "dense"
ONNX_SUFFIX = ".onnx"
_ARCH = re.compile(r"([a-z]+:)?[A-Za-z0-9][A-Za-z0-9_.]*")
_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_METHOD_AND_PERCENT = re.compile(r"(?P<method>[^-]+)-(?P<percent>.+)")
_PERCENT = re.compile(r"-?(\d+(\.\d*)?|\.\d+)")
_BLOCK = re.compile(r"(?P<base>.+)_block(?P<block>[1-9]\d?)")
_PATTERN = "_2of4"
PATTERN_SPARSITY = 0.5
"""The nominal sparsity of networks in the pattern 2:4; layers that cannot have it stay whole."""
_VARIANT = re.compile(r"[a-z][a-z0-9_]*")
_GRAMMAR = (
    "Names read <arch>/<method>-<percent>[+<variant>][@<source>], like resnet18/acdc-90, "
    "resnet18/dense, resnet18/acdc-90+compact or resnet50/erk-90@generated. The path of a "
    "checkpoint or ONNX file is a name too, if the file exists."
)


@dataclass(frozen=True)
class BackboneName:
    """A backbone's name, taken apart.

    Args:
        arch: architecture, e.g. ``resnet18``.
        method: pruning method, ``dense`` for none.
        sparsity: 0..1, in whole millionths of a percent; 0 for ``dense``.
        source: where the weights come from, None for what the suite ships.
        variant: another shape of the same backbone (``compact``), None for its own.
    """

    arch: str
    method: str
    sparsity: float
    source: str | None = None
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> BackboneName:
        """Take a name apart; whether such a backbone exists is another question.

        Raises:
            SparsebenchError: the text does not follow the grammar, or the sparsity lies
                outside 0..100 percent.
        """
        name, at, source = text.strip().partition("@")
        arch, slash, recipe = name.partition("/")
        recipe, plus, variant = recipe.partition("+")
        wrong = (at and not source) or (plus and not _VARIANT.fullmatch(variant))
        if not slash or not _ARCH.fullmatch(arch) or wrong:
            raise SparsebenchError(f"'{text}' is not a valid backbone name.", _GRAMMAR)
        method, sparsity = _parse_recipe(text, recipe)
        return cls(arch, method, sparsity, source or None, variant or None)

    @property
    def is_dense(self) -> bool:
        """Whether this names an unpruned backbone."""
        return self.method == DENSE

    def __str__(self) -> str:
        recipe = DENSE if self.is_dense else f"{self.method}-{format_percent(self.sparsity)}"
        variant = f"+{self.variant}" if self.variant else ""
        return f"{self.arch}/{recipe}{variant}" + (f"@{self.source}" if self.source else "")


def format_percent(sparsity: float) -> str:
    """A sparsity of 0..1 in percent, as names write it: 0.9 -> "90", 0.975 -> "97.5"."""
    text = f"{sparsity * 100:.6f}"
    return text.rstrip("0").rstrip(".")


def split_block(method: str) -> tuple[str, int]:
    """A method's name without its blocks, and their size: ``gmp_block4`` -> ``gmp``, 4."""
    match = _BLOCK.fullmatch(method)
    return (match["base"], int(match["block"])) if match else (method, 1)


def base_method(method: str) -> str:
    """A method's name without its blocks or pattern: ``gmp_2of4`` -> ``gmp``."""
    return split_block(method.removesuffix(_PATTERN))[0]


def has_pattern(method: str) -> bool:
    """Whether a method's name says that it prunes in the pattern 2:4."""
    return method.endswith(_PATTERN)


def with_pattern(method: str, pattern: str) -> str:
    """The name of a method in a pattern (2:4); of none it is its own."""
    return method + _PATTERN if pattern else method


def with_block(method: str, block: int) -> str:
    """The name of a method in blocks; blocks of one weight are no blocks."""
    return method if block == 1 else f"{method}_block{block}"


def is_onnx_name(name: str) -> bool:
    """Whether a backbone's name is the path of an ONNX file and nothing else."""
    return "@" not in name and name.strip().lower().endswith(ONNX_SUFFIX)


def _parse_recipe(text: str, recipe: str) -> tuple[str, float]:
    if recipe == DENSE:
        return DENSE, 0.0
    match = _METHOD_AND_PERCENT.fullmatch(recipe)
    if match is None:
        if _METHOD.fullmatch(recipe):
            raise SparsebenchError(
                f"'{text}' does not say how sparse it is.",
                f"Write the sparsity in percent, like {recipe}-90.",
            )
        raise SparsebenchError(f"'{text}' is not a valid backbone name.", _GRAMMAR)
    method, percent_text = match["method"], match["percent"]
    if not _METHOD.fullmatch(method) or not _PERCENT.fullmatch(percent_text):
        raise SparsebenchError(f"'{text}' is not a valid backbone name.", _GRAMMAR)
    if method == DENSE:
        raise SparsebenchError(f"'{text}': a dense backbone has no sparsity.", "Write just dense.")
    percent = float(percent_text)
    if not 0 <= percent <= 100:
        raise SparsebenchError(
            f"'{text}' asks for a sparsity of {percent_text} %, which lies outside 0 to 100.",
            "Write the share of zeros in percent, like acdc-90.",
        )
    if 0 < percent < 1:
        raise SparsebenchError(
            f"'{text}' asks for a sparsity of {percent_text} %, below one percent.",
            f"Sparsity is written in percent: did you mean {method}-{percent * 100:g}?",
        )
    return method, round(percent / 100, 8)
