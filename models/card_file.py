"""Card files: one JSON object beside the weights it describes.

``models/zoo/resnet18-acdc-90.json`` describes ``resnet18-acdc-90.safetensors``. The same
file beside a user's own checkpoint (``mine.json`` beside ``mine.pth``) tells what that was
trained with. Keys (``schema``, ``name`` always; the others as stated):

- ``schema``: ``sparsebench.card/1``
- ``name``: ``<arch>/<method>-<percent>``; architecture, method and sparsity follow from it
- ``family``: one of ``sparsebench.models.cards.FAMILIES`` [``unknown``, or ``dense`` for dense]
- ``preprocessing``: ``size``, ``resize``, ``interpolation``, ``mean``, ``std`` [those of
  the architecture's ImageNet weights]
- ``weights``: ``file`` (beside the JSON, or inside ``package``), ``sha256``, ``package``
  (a Python import name) and ``distribution`` (what to install for it); not for one's own
- ``num_classes`` [1000], ``licence`` [``unknown``], ``upstream_accuracy`` (0..1) [null],
  ``upstream_data`` [null], ``trained`` [true], ``dense_partner`` [``<arch>/dense``],
  ``notes`` [empty]
- ``budget``: ``epochs`` and ``images`` of all the training behind the weights [null: not known]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from sparsebench.models.architectures import ARCHITECTURES, find_architecture
from sparsebench.models.cards import (
    FAMILIES,
    IMAGENET_PREPROCESSING,
    INTERPOLATIONS,
    Budget,
    Card,
    Family,
    Interpolation,
    Preprocessing,
)
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import BackboneName

SCHEMA = "sparsebench.card/1"
_KEYS = {
    "schema",
    "name",
    "family",
    "preprocessing",
    "weights",
    "num_classes",
    "licence",
    "upstream_accuracy",
    "upstream_data",
    "trained",
    "dense_partner",
    "notes",
    "budget",
}
_WEIGHTS_KEYS = {"file", "sha256", "package", "distribution"}


@dataclass(frozen=True)
class Weights:
    """Where the weights of a card lie.

    Args:
        file: relative path, from the card's folder or from the package's.
        sha256: of that file; None where it is not promised.
        package: import name of the Python package that ships the file, if one does.
        distribution: what to install to have the package.
    """

    file: str
    sha256: str | None = None
    package: str | None = None
    distribution: str | None = None


def read_card(path: Path, source: str, *, any_arch: bool = False) -> tuple[Card, Weights | None]:
    """Read a card file.

    Args:
        path: of the JSON file.
        source: what the card's `source` shall be, where no package has the weights.
        any_arch: also of an architecture that the suite does not know, whose preprocessing
            is ImageNet's usual one where the card does not say.

    Raises:
        SparsebenchError: the file cannot be read, or a key is unknown, missing or wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _wrong(path, f"it cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise _wrong(path, "it is not a JSON object")
    if content.get("schema") != SCHEMA:
        raise _wrong(path, f"its schema is {content.get('schema')!r}, not '{SCHEMA}'")
    unknown = content.keys() - _KEYS
    if unknown:
        raise _wrong(path, f"the key '{min(unknown)}' is unknown")
    weights = _read_weights(path, content.get("weights"))
    return _read_facts(path, content, source, weights, any_arch), weights


def write_card(path: Path, card: Card, weights: Weights) -> None:
    """Write a card file that :func:`read_card` reads back as the same card.

    Raises:
        SparsebenchError: the file cannot be written.
    """
    content = {
        "schema": SCHEMA,
        "name": card.name,
        "family": card.family,
        "preprocessing": asdict(card.preprocessing),
        "weights": {k: v for k, v in asdict(weights).items() if v is not None},
        "num_classes": card.num_classes,
        "licence": card.licence,
        "upstream_accuracy": card.upstream_accuracy,
        "upstream_data": card.upstream_data,
        "trained": card.trained,
        "dense_partner": card.dense_partner,
        "notes": card.notes,
        "budget": asdict(card.budget) if card.budget else None,
    }
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SparsebenchError(
            f"'{path}' cannot be written: {error.strerror}.", "Name a folder you may write to."
        ) from None


def _read_facts(
    path: Path,
    content: Mapping[str, Any],
    source: str,
    weights: Weights | None,
    any_arch: bool,
) -> Card:
    name = BackboneName.parse(_typed(path, content, "name", str))
    known = name.arch in ARCHITECTURES or not any_arch
    usual = find_architecture(name.arch).preprocessing if known else IMAGENET_PREPROCESSING
    family = content.get("family", "dense" if name.is_dense else "unknown")
    if family not in FAMILIES:
        raise _wrong(path, f"its family is {family!r}, not one of {', '.join(FAMILIES)}")
    accuracy = _typed(path, content, "upstream_accuracy", float, None)
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise _wrong(path, f"its upstream_accuracy is {accuracy}, not within 0..1")
    classes = _typed(path, content, "num_classes", int, 1000)
    if classes < 1:
        raise _wrong(path, f"its num_classes is {classes}")
    partner = BackboneName.parse(
        _typed(path, content, "dense_partner", str, str(BackboneName(name.arch, "dense", 0.0)))
    )
    return Card(
        name=str(name),
        arch=name.arch,
        method=name.method,
        family=cast(Family, family),
        sparsity=name.sparsity,
        preprocessing=_read_preprocessing(path, content, usual),
        source=(weights.distribution or weights.package or source) if weights else source,
        sha256=weights.sha256 if weights else None,
        licence=_typed(path, content, "licence", str, "unknown"),
        upstream_accuracy=accuracy,
        upstream_data=_typed(path, content, "upstream_data", str, None),
        trained=_typed(path, content, "trained", bool, True),
        dense_partner=str(partner),
        notes=_typed(path, content, "notes", str, ""),
        num_classes=classes,
        budget=_read_budget(path, content.get("budget")),
    )


def _read_budget(path: Path, given: object) -> Budget | None:
    if given is None:
        return None
    keys = [*Budget.__dataclass_fields__]
    counts = list(given.values()) if isinstance(given, dict) and given.keys() == {*keys} else [0]
    if not all(type(count) is int and count > 0 for count in counts):
        raise _wrong(path, f"its budget is {given!r}, not whole numbers of {' and '.join(keys)}")
    return Budget(*(given[key] for key in keys))  # type: ignore[index]


def _read_preprocessing(
    path: Path, content: Mapping[str, Any], default: Preprocessing
) -> Preprocessing:
    given = _typed(path, content, "preprocessing", dict, {})
    unknown = given.keys() - asdict(default).keys()
    if unknown:
        raise _wrong(path, f"the key 'preprocessing.{min(unknown)}' is unknown")
    size = _typed(path, given, "size", int, default.size)
    resize = _typed(path, given, "resize", int, default.resize)
    if not 1 <= size <= resize <= 4096:
        raise _wrong(path, f"it resizes to {resize} pixels and cuts out {size}")
    interpolation = given.get("interpolation", default.interpolation)
    if interpolation not in INTERPOLATIONS:
        raise _wrong(path, f"its interpolation is {interpolation!r}, not {INTERPOLATIONS}")
    return Preprocessing(
        size=size,
        resize=resize,
        interpolation=cast(Interpolation, interpolation),
        mean=_read_channels(path, given, "mean", default.mean),
        std=_read_channels(path, given, "std", default.std),
    )


def _read_channels(
    path: Path, given: Mapping[str, Any], key: str, default: tuple[float, float, float]
) -> tuple[float, float, float]:
    values = given.get(key, default)
    if (
        not isinstance(values, list | tuple)
        or len(values) != 3
        or not all(isinstance(v, int | float) and -100 < v < 100 for v in values)
        or (key == "std" and min(values) <= 0)
    ):
        raise _wrong(path, f"its {key} is {values!r}, not three numbers (std above zero)")
    return (float(values[0]), float(values[1]), float(values[2]))


def _read_weights(path: Path, given: object) -> Weights | None:
    if given is None:
        return None
    if not isinstance(given, dict) or given.keys() - _WEIGHTS_KEYS:
        raise _wrong(path, f"its 'weights' may have {', '.join(sorted(_WEIGHTS_KEYS))}")
    file = _typed(path, given, "file", str)
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise _wrong(path, f"its weights file '{file}' lies outside its folder")
    return Weights(
        file,
        _typed(path, given, "sha256", str, None),
        _typed(path, given, "package", str, None),
        _typed(path, given, "distribution", str, None),
    )


def _typed(path: Path, content: Mapping[str, Any], key: str, kind: type, *default: Any) -> Any:
    """A value of a given type; JSON's whole numbers count as floats, null as a None default."""
    value = content.get(key, *default) if default else content.get(key)
    if value is None and default and default[0] is None:
        return None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise _wrong(path, f"its '{key}' is {value!r}, not of type {kind.__name__}")
    return value


def _wrong(path: Path, why: str) -> SparsebenchError:
    return SparsebenchError(
        f"The card '{path}' is wrong: {why}.", "models/card_file.py states what cards hold."
    )


def card_of(path: Path) -> Card | None:
    """What the card file beside an ONNX file says, None if there is none.

    Raises:
        SparsebenchError: the card file is wrong.
    """
    beside = path.with_suffix(".json")
    return read_card(beside, str(path), any_arch=True)[0] if beside.is_file() else None
