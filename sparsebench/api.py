"""What Python code does with the suite: measure, load, look at, decide, prune.

Everything here calls what the command line calls, so both give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.bench.plan.plan import Plan, load_plan
from sparsebench.bench.records import Comparison, Record, RunFolder, Trial
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from sparsebench.bench.decide import Advice
    from sparsebench.models.sparsify.produce import Produced


@dataclass(frozen=True)
class Recommendation:
    """The answers to :func:`advise`; printing it says what the command says.

    Args:
        advice: the answers with all that they rest on.
    """

    advice: Advice

    @property
    def shown(self) -> bool:
        """Whether every answer is shown with the confidence that was asked for."""
        return self.advice.exit_code == 0

    def to_json(self) -> dict[str, Any]:
        """The same facts as ``sparsebench advise --json``."""
        from sparsebench.bench.present.decisions.answer_json import advice_json

        return advice_json(self.advice)

    def __str__(self) -> str:
        from rich.console import Console

        from sparsebench.bench.present.decisions.advice_text import advice_text

        console = Console(highlight=False, width=100, color_system=None)
        with console.capture() as text:
            for part in advice_text(self.advice):
                console.print(part, soft_wrap=bool(getattr(part, "no_wrap", False)))
        return text.get()


@dataclass(frozen=True)
class Run:
    """A finished (or interrupted) run.

    Args:
        path: its folder, as ``sparsebench run --out`` wrote it.
    """

    path: Path

    @cached_property
    def records(self) -> list[Record]:
        """One record a cell, those that failed too (``status``, ``reason``)."""
        return self._folder.records()

    @cached_property
    def trials(self) -> list[Trial]:
        """Every timed execution, raw samples in measured order."""
        return self._folder.trials()

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Each sparse cell against its dense baseline, computed from records and trials."""
        from sparsebench.bench.comparisons import compare_run

        return compare_run(self.records, self.trials)

    def to_frame(self) -> pd.DataFrame:
        """The measured cells as a tidy frame, one row a cell: the columns of ``summary.csv``.

        Speeds are images/s or seconds, speed-ups are ratios, accuracies percent, accuracy changes
        percentage points; the ends of each 95 % confidence interval are columns of their own.
        """
        from sparsebench.bench.present.tables import sections, summary_frame

        return summary_frame(sections(self.records, self.trials, self.comparisons))

    def plot(
        self,
        out: str | Path | None = None,
        *,
        figures: str | Sequence[str] = ("speedup-accuracy",),
        margin: float = 0.5,
    ) -> list[Path]:
        """Draw figures as PNG and SVG, as ``sparsebench plot`` does.

        Args:
            out: folder, or a file whose stem is used (default: the run's folder).
            figures: their names, or ``"all"``.
            margin: percentage points lost that still count as no worse.

        Returns:
            The files written.

        Raises:
            SparsebenchError: an unknown figure, nothing to draw, or `out` cannot be written.
        """
        from sparsebench.bench.present.plots.figures import Wish, draw_figures

        target = self.path if out is None else Path(out)
        names = [figures] if isinstance(figures, str) else figures
        return list(draw_figures([self._folder], names, Wish(margin=margin), target).files)

    def report(self, out: str | Path | None = None, *, max_accuracy_loss: float = 0.5) -> Path:
        """Write the report (HTML, or Markdown where `out` ends in ``.md``) and return its path.

        Raises:
            SparsebenchError: the run is damaged, or `out` cannot be written.
        """
        from sparsebench.bench.present.report import build_report, write_report
        from sparsebench.bench.present.report.write import chosen_format

        target = None if out is None else Path(out)
        report = build_report([self.path], max_accuracy_loss)
        return write_report(report, target, chosen_format(target, ""))

    def advise(self, **question: Any) -> Recommendation:
        """Which variant to take; the arguments of :func:`advise`."""
        return advise([self], **question)

    @property
    def _folder(self) -> RunFolder:
        return RunFolder.reading(self.path)


def load(folder: str | Path) -> Run:
    """A run from its folder.

    Raises:
        SparsebenchError: there is no run in this folder, or a file of it is damaged.
    """
    found = Run(RunFolder.reading(folder).path)
    _ = found.records
    return found


def run(
    plan: str | Path | Plan = "quick",
    *,
    backbone: nn.Module | str | None = None,
    dense: nn.Module | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    **changes: Any,
) -> Run:
    """Measure a plan, as ``sparsebench run`` does.

    Args:
        plan: a preset's name, a TOML file, or a :class:`Plan`.
        backbone: the only backbone: its name, or a network, float32 [N, 3, H, W] -> logits
            [N, C]. A network is exported in this process (at `size`, or 224 px) and then measured
            as any ONNX file is.
        dense: what it is compared with, likewise.
        out: run folder (default: ``runs/PLAN-TIME``); new or empty unless `resume`.
        resume: continue an interrupted run in `out`.
        progress: show it: a live bar on a terminal, a line now and then elsewhere.
        changes: fields of :class:`Plan` that shall differ, e.g.
            ``engines=("native",), workloads=("inference",), repeats=3``; keys of workloads'
            sections as ``sections={"full": {"epochs": 3}}``.

    Raises:
        SparsebenchError: a name or value is wrong, a file is missing, or nothing was measured.
    """
    from sparsebench.bench.cli.run import run_folder
    from sparsebench.bench.cli.run_display import RunDisplay
    from sparsebench.bench.plan.sections import known_keys
    from sparsebench.bench.plan.validation import check
    from sparsebench.bench.plan.workloads import WORKLOADS
    from sparsebench.bench.run.execute import execute

    chosen = plan if isinstance(plan, Plan) else load_plan(str(plan))
    known = [key for key in known_keys() if key not in WORKLOADS] + ["sections"]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise SparsebenchError(
            f"A plan has no field {', '.join(unknown)}.", f"Its fields are {', '.join(known)}."
        )
    chosen = chosen.with_changes(**{key: _frozen(value) for key, value in changes.items()})
    if backbone is not None:
        size = chosen.size if isinstance(chosen.size, int) else 0
        engines = chosen.engine_names
        sparse, partner = (_named(given, size, engines) for given in (backbone, dense))
        partners = {} if partner is None else {str(sparse): partner}
        chosen = chosen.with_changes(backbones=(sparse,), dense=partners or None)
    elif dense is not None:
        raise SparsebenchError("A dense network alone is compared with nothing.", "Give backbone.")
    check(chosen)
    folder = run_folder(chosen, None if out is None else Path(out), resume)
    with RunDisplay(quiet=not progress) as display:
        outcome = execute(chosen, folder, resume=resume, display=display)
    if not outcome.measured:
        raise NothingMeasuredError(
            "Nothing was measured: every cell failed.", f"The reasons are in {folder}/summary.md."
        )
    return Run(folder)


def advise(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    max_accuracy_loss: float = 0.5,
    confidence: float = 0.95,
    production: bool = False,
    latency: float | None = None,
    batch_size: int | None = None,
    retrain_every: float | None = None,
    reference: str | None = None,
) -> Recommendation:
    """Which variant to take for each workload, and whether that is shown: ``sparsebench advise``.

    Args:
        runs: one, or several of one machine.
        max_accuracy_loss: percentage points that may be lost against the dense baseline.
        confidence: probability, 0 to 1, with which that limit must hold.
        production: only engines whose licence allows production.
        latency: seconds that 95 % of the calls must keep.
        batch_size: images of a call in inference (default: the only one measured).
        retrain_every: seconds between two trainings, to weigh training and inference.
        reference: dense backbone that losses count against (default: each variant's own).

    Returns:
        The answers; printing it says what the command says.

    Raises:
        SparsebenchError: runs of two machines, nothing measured at this batch size, an unknown
            reference, or a limit that cannot be meant.
    """
    from sparsebench.bench.decide import Limits, Request, RunData
    from sparsebench.bench.decide import advise as answer

    named = [runs] if isinstance(runs, Run | str | Path) else runs
    found: dict[Path, Run] = {}
    for one in named:
        run = one if isinstance(one, Run) else load(one)
        found.setdefault(run.path.resolve(), run)  # named twice, it counts once
    limits = Limits(max_accuracy_loss, latency, production, confidence)
    data = [RunData.of(str(one.path), one.records, one.trials) for one in found.values()]
    return Recommendation(answer(data, Request(limits, batch_size, retrain_every, reference)))


def sparsify(
    arch: str,
    method: str,
    sparsity: float,
    *,
    data: str | Path,
    epochs: int,
    out: str | Path,
    progress: Callable[[Any], None] | None = None,
    **settings: Any,
) -> Produced:
    """Train a network to a sparsity on your own images, as ``sparsebench sparsify`` does.

    Args:
        arch: architecture, e.g. ``"resnet18"``.
        method: pruning method (``sparsebench list methods``), or ``"dense"``.
        sparsity: share of zeros among the prunable weights, 0 to 1.
        data: folder with ``train/CLASS/*`` and ``test/CLASS/*``.
        epochs: passes over the training images.
        out: file to write, ``*.safetensors``. An interrupted training continues from the
            checkpoint beside it.
        progress: called every few steps.
        settings: further arguments of :func:`sparsebench.models.sparsify.produce.sparsify`.

    Raises:
        SparsebenchError: bad input, or the sparsity was missed by more than a point.
    """
    from sparsebench.models.sparsify.produce import sparsify as produce

    return produce(arch, method, sparsity, data, epochs, out, progress=progress, **settings)


def _named(given: nn.Module | str | None, size: int, engines: Iterable[str]) -> str | None:
    """The name of a backbone; a network becomes an ONNX file for these engines first."""
    if given is None or isinstance(given, str):
        return given
    from sparsebench.exporters.onnx.own_module import export_module
    from sparsebench.exporters.worker.readers import readers_of

    return str(export_module(given, size or 224, readers_of(engines)))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
