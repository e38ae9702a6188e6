"""``sparsebench check --base … --head …``: two commits, or two versions of an engine, in turns."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.cli.say import echo
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.bench.gate import GateReport, Settings
    from sparsebench.bench.gate.sides import Side


@dataclass(frozen=True)
class Sides:
    """What is measured on either side; see the options of `check`."""

    base: str
    head: str
    plan: str
    blocks: int
    run_options: str
    out: Path | None


def check_commits(asked: Sides, settings: Settings) -> GateReport:
    """Measure two commits of this project in turns, and judge head by base.

    Raises:
        SparsebenchError: no repository, no such commit, or a wrong plan.
        NothingMeasuredError: a side measured nothing.
    """
    from sparsebench.bench.gate.refs import check_out, drop, top_of

    repository = top_of(Path.cwd())

    @contextmanager
    def sides(out: Path) -> Iterator[list[Side]]:
        made: list[Side] = []
        try:
            for role, ref in (("base", asked.base), ("head", asked.head)):
                made.append(check_out(repository, ref, out / f"checkout-{role}"))
            yield made
        finally:
            for side in made:
                drop(repository, side)

    words = ["--base", asked.base, "--head", asked.head]
    return _check(asked, settings, words, sides)


def check_engines(asked: Sides, settings: Settings) -> GateReport:
    """Measure two versions of an engine in turns, each in an environment of its own.

    Raises:
        SparsebenchError: no versions of one engine, or an environment that cannot be built.
        NothingMeasuredError: a side measured nothing.
    """
    from sparsebench.bench.gate.engine_versions import engine_sides

    @contextmanager
    def sides(out: Path) -> Iterator[list[Side]]:
        yield engine_sides(asked.base, asked.head, asked.plan, out, say=_say)

    words = ["--base-engine", asked.base, "--head-engine", asked.head]
    return _check(asked, settings, words, sides)


def _check(
    asked: Sides,
    settings: Settings,
    words: Sequence[str],
    sides: Callable[[Path], AbstractContextManager[list[Side]]],
) -> GateReport:
    from sparsebench.bench.gate import GateReport
    from sparsebench.bench.gate.refs import compare_refs
    from sparsebench.bench.gate.report import told_apart
    from sparsebench.bench.gate.sides import run_sides
    from sparsebench.bench.plan.plan import load_plan
    from sparsebench.bench.statistics.ratios import LEAST_BLOCKS
    from sparsebench.models.errors import NothingMeasuredError

    if asked.blocks < LEAST_BLOCKS:
        raise SparsebenchError(
            f"--blocks must be {LEAST_BLOCKS} or more, not {asked.blocks}: fewer have no interval."
        )
    name = asked.plan
    if Path(name).suffix == ".toml":
        name = str(Path(name).resolve())
    load_plan(name)
    again = ["sparsebench", "check", *words, "--plan", asked.plan]
    again += ["--blocks", str(2 * asked.blocks)]
    if asked.run_options:
        again += ["--run-options", asked.run_options]
    out = _folder(asked.out)
    keep = asked.out is not None
    try:
        with sides(out) as pair:
            arguments = [name, *shlex.split(asked.run_options)]
            runs = run_sides(pair, arguments, asked.blocks, out, say=_say)
            verdicts = compare_refs(runs, settings, shlex.join(again))
        report = GateReport(
            run=str(out),
            reason=f"{pair[1].name} ({pair[1].commit}) against {pair[0].name} ({pair[0].commit})",
            verdicts=told_apart(verdicts),
            settings=settings,
        )
        keep = keep or report.exit_code != 0
    except NothingMeasuredError:
        keep = True  # its message says where to look
        raise
    finally:
        if not keep:
            shutil.rmtree(out, ignore_errors=True)
    where = f"the runs are in {out}" if keep else "nothing failed, so the runs were removed"
    return replace(report, notes=(f"Times of head against base, in turns in one job; {where}.",))


def _folder(out: Path | None) -> Path:
    """The folder asked for, empty, or one that is removed unless something fails."""
    if out is None:
        return Path(tempfile.mkdtemp(prefix="sparsebench-check-"))
    try:
        out.mkdir(parents=True, exist_ok=True)
        empty = not any(out.iterdir())
    except OSError as error:
        raise SparsebenchError(f"{out} cannot be made ({error.strerror}).") from error
    if not empty:
        raise SparsebenchError(f"{out} is not empty.", "Choose another --out.")
    return out.resolve()


def _say(text: str) -> None:
    echo(text, err=True)
