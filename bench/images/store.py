"""Prepared images: decoded and resized once, kept in a file from run to run.

What a split's images look like at the network's scale depends on the task's content, the
length of the short side and the interpolation alone, so every backbone of that preprocessing
shares them. A file is written to a temporary name, then renamed; it carries a checksum of its
index and of its pixels, and a truncated or altered one is noticed and made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images.resized import ResizedImages, decode_resized
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError

log = logging.getLogger("sparsebench")

VERSION = 1
_PIECE = 1 << 24


@dataclass(frozen=True)
class _Key:
    version: int
    task_sha256: str
    split: str
    resize: int
    interpolation: str


class PreparedStore:
    """A folder of prepared images.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, task: Task, split: str, preprocessing: Preprocessing) -> Path:
        """Where the images of a split lie."""
        key = json.dumps(asdict(_key(task, split, preprocessing)), sort_keys=True)
        return self.root / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.pictures"

    def get_or_decode(
        self,
        task: Task,
        split: str,
        preprocessing: Preprocessing,
        *,
        workers: int | None = None,
        clock: StageClock | None = None,
    ) -> ResizedImages:
        """The images of a split, from the store or else from their files.

        Stages: ``load`` (opening and checking), ``decode`` and ``store`` where they are missing.

        Raises:
            SparsebenchError: an unreadable image, no room to keep them.
        """
        clock = clock or StageClock()
        path = self.path(task, split, preprocessing)
        with clock.stage("load"):
            found = self._read(path, task, split, preprocessing)
        if found is not None:
            return found
        made = decode_resized(task, split, preprocessing, workers=workers, clock=clock)
        with clock.stage("store"):
            self._write(path, _key(task, split, preprocessing), made)
        return made

    def _read(
        self, path: Path, task: Task, split: str, preprocessing: Preprocessing
    ) -> ResizedImages | None:
        try:
            with path.open("rb") as file:
                head = json.loads(file.readline())
                start = file.tell()
            key = asdict(_key(task, split, preprocessing))
            shapes = np.array(head["shapes"], np.int32).reshape(-1, 2)
            sizes = shapes.astype(np.int64).prod(axis=1) * 3
            starts = np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])
            labels = task.split(split).labels
            if head["key"] != key or len(shapes) != len(labels):
                raise ValueError("it is of another task")
            if path.stat().st_size != start + int(starts[-1]):
                raise ValueError("it is truncated")
            pixels = np.memmap(path, np.uint8, "r", offset=start)
            if _checksum(pixels) != head["crc32"]:
                raise ValueError("its checksum is wrong")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("prepared images %s are made again: %s", path, error)
            return None
        return ResizedImages(pixels, starts, shapes, labels)

    def _write(self, path: Path, key: _Key, made: ResizedImages) -> None:
        head: dict[str, Any] = {
            "key": asdict(key),
            "shapes": made.shapes.tolist(),
            "crc32": _checksum(made.pixels),
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.write(np.ascontiguousarray(made.pixels).data)
            temporary.replace(path)
        except OSError as error:
            raise SparsebenchError(
                f"Prepared images cannot be kept in {self.root} ({error.strerror or error}).",
                "Free some disk, or set SPARSEBENCH_CACHE to a folder with room.",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def _key(task: Task, split: str, preprocessing: Preprocessing) -> _Key:
    return _Key(VERSION, task.sha256, split, preprocessing.resize, preprocessing.interpolation)


def _checksum(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    value = 0
    for start in range(0, len(pixels), _PIECE):
        value = zlib.crc32(pixels[start : start + _PIECE].data, value)
    return value
