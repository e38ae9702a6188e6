"""RunFolder: the files that a run writes, line by line."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from sparsebench.bench.records.checksum import sealed
from sparsebench.bench.records.comparison import Comparison
from sparsebench.bench.records.jsonl import append_bytes, append_line, mend_end, read_lines
from sparsebench.bench.records.lock import FolderLock
from sparsebench.bench.records.outcomes import Kept, OutcomesFile, write_outcomes
from sparsebench.bench.records.record import Record
from sparsebench.bench.records.schema import Kind, upgraded, validate
from sparsebench.bench.records.trial import Trial
from sparsebench.models.errors import SparsebenchError

TRIALS = "trials.jsonl"
RECORDS = "records.jsonl"
COMPARISONS = "comparisons.jsonl"
LOCK = ".lock"
KNOWN = (TRIALS, RECORDS, COMPARISONS, LOCK, "plan.toml", "log.txt")


class RunFolder:
    """A run's folder. The constructor only names it; `open` makes it writable.

    Lines are validated, flushed and synchronised to disk one by one, so that a kill loses at
    most the line that was being written.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock: FolderLock | None = None
        self._guard = threading.Lock()

    @classmethod
    def open(cls, path: Path | str, *, resume: bool = False) -> RunFolder:
        """Make the folder (or continue in it), lock it, and repair what a kill has torn.

        Raises:
            SparsebenchError: it is a file, cannot be written, holds something without `resume`,
                holds something that is no run with `resume`, or another run writes to it.
        """
        folder = cls(path)
        try:
            folder._make(resume)
            lock = FolderLock(folder.path / LOCK)
            lock.acquire()
            folder._lock = lock
            for name in (TRIALS, RECORDS, COMPARISONS):
                mend_end(folder.path / name)
        except OSError as error:
            folder.close()
            raise _unwritable(folder.path, error) from error
        except SparsebenchError:
            folder.close()
            raise
        return folder

    @classmethod
    def reading(cls, path: Path | str) -> RunFolder:
        """An existing run, for reading.

        Raises:
            SparsebenchError: there is no run in this folder.
        """
        folder = cls(path)
        if not (folder.path / RECORDS).is_file():
            raise SparsebenchError(
                f"{folder.path} holds no run: there is no {RECORDS} in it.",
                "`sparsebench run PLAN --out DIR` writes one.",
            )
        return folder

    @classmethod
    def reading_all(cls, paths: Iterable[Path | str]) -> list[RunFolder]:
        """Existing runs, for reading; a folder that is named twice counts once.

        Raises:
            SparsebenchError: there is no run in one of the folders.
        """
        first: dict[Path, Path | str] = {}
        for path in paths:
            first.setdefault(Path(path).resolve(), path)
        return [cls.reading(path) for path in first.values()]

    @property
    def name(self) -> str:
        """The name of the run: its folder's."""
        return self.path.resolve().name

    def append_trial(self, trial: Trial) -> None:
        """Write a trial as it ends."""
        self._append("trial", TRIALS, trial)

    def append_record(self, record: Record) -> None:
        """Write the record of a cell that is complete."""
        self._append("record", RECORDS, record)

    def trials(self) -> list[Trial]:
        """Every trial, in written order; a later line about the same launch replaces its trial.

        That is how the drift rule discards a trial which is on disk already.
        """
        latest = {
            (line["cell"], line["block"], line["launch"]): line
            for line in self._lines("trial", TRIALS)
        }
        return [Trial.from_json(line) for line in latest.values()]

    def records(self) -> list[Record]:
        """One record a cell: where a cell was measured again, the later one."""
        latest = {line["id"]: line for line in self._lines("record", RECORDS)}
        return [Record.from_json(line, self.path) for line in latest.values()]

    def comparisons(self) -> list[Comparison]:
        """Every comparison, in written order."""
        return [Comparison.from_json(line) for line in self._lines("comparison", COMPARISONS)]

    def replace_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """Write all comparisons again: they follow from records and trials."""
        lines = []
        for comparison in comparisons:
            line = comparison.to_json()
            validate("comparison", line, f"The comparison of {comparison.sparse}")
            lines.append(sealed(line))
        temporary = self.path / f".{COMPARISONS}.new"
        try:
            temporary.unlink(missing_ok=True)
            append_bytes(temporary, b"".join(lines))
            temporary.replace(self.path / COMPARISONS)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write_text(self, name: str, text: str) -> Path:
        """Write a whole file of the run at once: a reader sees the old or the new one."""
        target = self.path / name
        temporary = self.path / f".{name}.new"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return target

    def write_outcomes(self, name: str, outcomes: Kept) -> OutcomesFile:
        """Keep which test images were right, on disk when this returns."""
        return write_outcomes(self.path, name, outcomes)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _append(self, kind: Kind, name: str, item: Trial | Record | Comparison) -> None:
        if self._lock is None:
            raise RuntimeError(f"{self.path} is open for reading; RunFolder.open writes")
        line = item.to_json()
        validate(kind, line, f"A new line of {name}")
        with self._guard:
            append_line(self.path / name, line)

    def _lines(self, kind: Kind, name: str) -> list[dict[str, object]]:
        path = self.path / name
        return [
            upgraded(kind, line.data, f"{path}, line {line.number}", proven=line.proven)
            for line in read_lines(path)
        ]

    def _make(self, resume: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise SparsebenchError(
                f"{self.path} is a file, no folder.", "Choose another --out for the run."
            )
        self.path.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        present = {entry.name for entry in self.path.iterdir()} - {LOCK}
        if present and not resume:
            raise SparsebenchError(
                f"{self.path} is not empty.",
                "Choose another --out, or continue the run in it with --resume.",
            )
        if present and not present & set(KNOWN):
            raise SparsebenchError(
                f"{self.path} holds no run that could be resumed.", "Choose another --out."
            )


def _unwritable(path: Path, error: OSError) -> SparsebenchError:
    return SparsebenchError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Choose another --out, or check who owns it and whether the disk is full.",
    )
