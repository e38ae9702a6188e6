"""Data sets of the Hugging Face hub, through its library ``datasets`` (an optional extra).

``hf:OWNER/NAME``, ``hf:OWNER/NAME@REVISION``, ``hf:OWNER/NAME#CONFIGURATION`` or a local
folder that the library reads, ``hf:path/to/folder``. The data set needs a side to train on
and one to test on, one column of images and one of classes. Code that comes with a data
set is never run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from sparsebench.bench.tasks.base import Task, TaskOptions
from sparsebench.bench.tasks.download import reach
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.decoding import MAX_BYTES, UnreadableImageError, decode_image
from sparsebench.models.images.folder import changed_image
from sparsebench.models.images.layout import TEST_NAMES, TRAIN_NAMES, Layout
from sparsebench.models.images.scan import Stamp, readable_images
from sparsebench.models.images.text import shortened
from sparsebench.models.installing import install_command

INSTALL = f"Install it ({install_command('datasets')}), or the suite with its extra 'hub'."


class HubImages:
    """Images in the library's tables; items are ``SIDE/ROW``."""

    def __init__(self, name: str, sides: dict[str, Any], column: str) -> None:
        self.name = name
        self.sides = sides
        self.column = column

    def read_bytes(self, name: str) -> bytes:
        """The image's file as it came."""
        side, _, row = name.partition("/")
        cell = self.sides[side][int(row)][self.column]
        if cell is None:
            raise OSError("there is no image")
        data = cell["bytes"]
        if data is None:
            with open(cell["path"], "rb") as file:
                data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES >> 20} MiB")
        return cast(bytes, data)

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB image; see :class:`sparsebench.models.images.labelled.ImageStore`."""
        name = str(item)
        try:
            return decode_image(self.read_bytes(name), at_least)
        except (OSError, UnreadableImageError) as error:
            raise changed_image(Path(self.name), name, error) from error


def open_hub(name: str, options: TaskOptions) -> Task:
    """A data set of the Hugging Face hub.

    Args:
        name: ``NAME``, ``NAME@REVISION``, ``NAME#CONFIGURATION`` or both, in this order.
        options: see :class:`TaskOptions`; without ``download`` only what the library has
            on this machine is used.

    Raises:
        SparsebenchError: the library is not installed; there is no such data set, or it
            cannot be had; it has no two sides, or its columns are no images and classes;
            a label out of range.
    """
    table = _load(name, options)
    sides = {
        "train": _side(table, TRAIN_NAMES, name),
        "test": _side(table, TEST_NAMES, name),
    }
    image, label = _columns(sides["train"].features, name)
    _columns(sides["test"].features, name)
    classes, numbers = _labels(sides, label, name)
    from datasets import Image as HubImage

    for side, table in sides.items():
        sides[side] = table.select_columns([image]).cast_column(image, HubImage(decode=False))

    def rows(side: str) -> tuple[tuple[str, str, int], ...]:
        return tuple((f"{side}/{i}", str(i), k) for i, k in enumerate(numbers[side]))

    layout = Layout(classes, rows("train"), rows("test"), ignored=0)
    store = HubImages(f"hf:{name}", sides, image)
    stamps = {
        path: [*_stamp(sides[path.partition("/")[0]]), int(row)]
        for path, row, _ in (*layout.train, *layout.test)
    }
    where = options.cache_folder("hub") / hashlib.sha256(name.encode()).hexdigest()[:16]
    return Task.of(readable_images(f"hf:{name}", layout, store, stamps, where, options))


def _load(name: str, options: TaskOptions) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise SparsebenchError(
            f"'hf:{name}' needs the library 'datasets', which is not installed.", INSTALL
        ) from error
    match = re.fullmatch(r"(?P<path>[^@#]+)(@(?P<revision>[^#]+))?(#(?P<config>.+))?", name)
    if match is None:
        raise SparsebenchError(
            f"'hf:{name}' is not a valid name of a data set.",
            "Give hf:OWNER/NAME[@REVISION][#CONFIG].",
        )
    why = None
    if options.download and not Path(match["path"]).exists():
        why = reach(datasets.config.HF_ENDPOINT)  # the library itself would try for long
    try:
        with _offline(datasets, why is not None or not options.download):
            return datasets.load_dataset(
                match["path"],
                match["config"],
                revision=match["revision"],
                cache_dir=str(options.data_dir / "hub") if options.data_dir else None,
            )
    except Exception as error:  # the library and its network raise nearly anything
        reason = f"the hub cannot be reached from here, {why}" if why else str(error)
        raise SparsebenchError(
            f"'hf:{name}' cannot be had: {' '.join(reason.split())[:300]}.",
            "Check the name and the network; what broke off resumes when you start again.",
        ) from error


@contextmanager
def _offline(datasets: Any, wanted: bool) -> Iterator[None]:
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _side(table: Any, names: Sequence[str], name: str) -> Any:
    by_lower = {key.lower(): key for key in table}
    for wanted in names:
        if wanted in by_lower:
            return table[by_lower[wanted]]
    raise SparsebenchError(
        f"'hf:{name}' has no {' or '.join(names)} side; it has {shortened(sorted(table))}.",
        "A task needs a side to train on and one to test on; another #CONFIGURATION may have.",
    )


def _columns(features: Any, name: str) -> tuple[str, str]:
    """The one column of images and the one of classes; ``label`` wins among several."""
    from datasets import ClassLabel
    from datasets import Image as HubImage

    images = [key for key, kind in features.items() if isinstance(kind, HubImage)]
    labels = [key for key, kind in features.items() if isinstance(kind, ClassLabel)]
    if not labels:
        labels = [key for key in ("label", "labels", "class", "fine_label") if key in features]
    labels = [key for key in labels if key in ("label", "fine_label")][:1] or labels
    if len(images) != 1 or len(labels) != 1:
        found = ", ".join(f"{key} ({type(kind).__name__})" for key, kind in features.items())
        raise SparsebenchError(
            f"'hf:{name}' has the columns {found}.",
            "A task needs one column of images (Image) and one of classes (ClassLabel).",
        )
    return images[0], labels[0]


def _labels(
    sides: dict[str, Any], column: str, name: str
) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Class names and the label of each row."""
    raw = {side: rows.with_format(None)[column][:] for side, rows in sides.items()}
    kind = sides["train"].features[column]
    names = getattr(kind, "names", None)
    if names != getattr(sides["test"].features[column], "names", None):
        raise SparsebenchError(
            f"The classes of 'hf:{name}' differ between its two sides.",
            "A head needs the same classes on both.",
        )
    if names is None:
        found = {side: {str(value) for value in values} for side, values in raw.items()}
        names = sorted(found["train"] | found["test"])
        number = {value: i for i, value in enumerate(names)}
        return tuple(names), {
            side: [number[str(value)] for value in values] for side, values in raw.items()
        }
    for side, values in raw.items():
        bad = [value for value in values if value is None or not 0 <= value < len(names)]
        if bad:
            raise SparsebenchError(
                f"The {side} side of 'hf:{name}' has the label {bad[0]}, but {len(names)} classes.",
                "Rows without a label (often -1) cannot be used; take a side that has labels.",
            )
    return tuple(names), raw


def _stamp(rows: Any) -> Stamp:
    """The library's fingerprint of a table changes whenever its content does."""
    digest = hashlib.sha256(str(rows._fingerprint).encode()).digest()
    return [int(np.frombuffer(digest[:8], np.int64)[0])]
