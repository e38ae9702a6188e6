"""``sparsebench check`` and ``sparsebench baseline``: the gate and what it gates against."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench.bench.cli.options import Json, a_place, fraction, one_text, write
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.bench.present import escape
from sparsebench.models.errors import SparsebenchError, UnknownNameError

if TYPE_CHECKING:
    from sparsebench.bench.gate import GateReport, Settings

EPILOG = """Examples:

  sparsebench check runs/today --baseline results/baselines/ci.toml

  sparsebench check runs/today --baseline ci.toml --effect 3% --junit check.xml --markdown check.md

  sparsebench check --base main --head . --run-options "--engine deepsparse --workload inference"

  sparsebench check --base-engine onnxruntime==1.20.1 --head-engine onnxruntime==1.22.0

Exit codes: 0 every limit is shown to hold, 1 a regressed, failed or missing cell, 2 refused
(another machine, other settings, a limit below the noise), 3 nothing was measured, 4 cannot tell:
no limit is broken, but the noise or a busy machine leaves one open (--inconclusive makes 0 or 1 of
it).
"""
UPDATE_EPILOG = """Examples:

  sparsebench baseline update runs/today --out ci.toml --reason "DeepSparse 1.8.0 on the new runner"
"""

baseline_app = typer.Typer(help="Baselines of the gate.", no_args_is_help=True)


def check(
    run: Annotated[Path | None, typer.Argument(help="Folder of the run to judge.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Baseline file (`baseline update` writes one).")
    ] = None,
    base: Annotated[
        str, typer.Option(help="Instead of a run: git commit to measure head against.")
    ] = "",
    head: Annotated[
        str, typer.Option(help="With --base: commit, or '.' for the working tree.")
    ] = ".",
    base_engine: Annotated[
        str, typer.Option(help="Instead of commits: an engine's version, like onnxruntime==1.20.")
    ] = "",
    head_engine: Annotated[
        str, typer.Option(help="With --base-engine: the version that is judged by it.")
    ] = "",
    plan: Annotated[str, typer.Option(help="With --base: preset or TOML file to run.")] = "quick",
    blocks: Annotated[int, typer.Option(help="With --base: blocks of either side.")] = 5,
    run_options: Annotated[
        str, typer.Option(help="With --base: options of `run`, such as '--engine deepsparse'.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            callback=a_place,
            help="With --base: keep the runs here (default: only where a cell fails).",
        ),
    ] = None,
    effect: Annotated[
        str, typer.Option(help="Smallest change of a ratio that counts: 5% or 0.05.")
    ] = "5%",
    max_accuracy_loss: Annotated[
        float, typer.Option(help="Points of accuracy that may be lost against the baseline.")
    ] = 0.5,
    only: Annotated[str, typer.Option(help="Regular expression: judge only such cells.")] = "",
    inconclusive: Annotated[
        str,
        typer.Option(
            metavar="fail|pass",
            help="Where the noise leaves a limit open: fail or pass (default: exit code 4).",
        ),
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", hidden=True)] = False,
    across_machines: Annotated[
        bool,
        typer.Option("--across-machines", help="Judge accuracies, floors and missing cells only."),
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull request here.")
    ] = None,
    badge: Annotated[
        Path | None, typer.Option(help="Write the verdict as an SVG badge here.")
    ] = None,
    github: Annotated[
        bool | None,
        typer.Option(help="Print GitHub annotations (default: inside GitHub Actions)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a run for regressions against a baseline, or compare two commits or engine versions."""
    from sparsebench.bench.gate import Settings
    from sparsebench.bench.gate.report import INCONCLUSIVE

    if strict:
        echo("--strict is called --inconclusive fail now.", err=True)
        inconclusive = "fail"
    if inconclusive not in ("", *INCONCLUSIVE):
        raise UnknownNameError("--inconclusive", inconclusive, INCONCLUSIVE)
    settings = Settings(
        effect=fraction(effect, "--effect"),
        max_accuracy_loss=max_accuracy_loss,
        across_machines=across_machines,
        only=only,
        inconclusive=inconclusive or None,
    )
    one_text(as_json, junit, markdown, badge)
    outputs = Outputs(junit, markdown, badge, github, as_json)
    if base or base_engine or head_engine:
        from sparsebench.bench.cli.check_two_sides import Sides, check_commits, check_engines

        if run is not None or baseline is not None:
            raise SparsebenchError("--base measures by itself: it takes no run and no baseline.")
        if bool(base_engine) != bool(head_engine) or (base and base_engine):
            raise SparsebenchError(
                "A check needs two commits or two versions of an engine.",
                "--base REF --head REF, or --base-engine E==1 --head-engine E==2.",
            )
        asked = Sides(base, head, plan, blocks, run_options, out)
        if base_engine:
            asked = replace(asked, base=base_engine, head=head_engine)
        report = (check_engines if base_engine else check_commits)(asked, settings)
        raise typer.Exit(show(report, Path(asked.base), outputs))
    if run is None or baseline is None:
        raise SparsebenchError(
            "A check needs a run and its baseline, or two commits.",
            "`sparsebench check RUN --baseline FILE`, or `sparsebench check --base REF`.",
        )
    report = _check_baseline(run, baseline, settings)
    raise typer.Exit(show(report, baseline, outputs))


def _check_baseline(run: Path, baseline: Path, settings: Settings) -> GateReport:
    from sparsebench.bench.gate import check_run, read_baseline
    from sparsebench.bench.gate.noise import stored_noise
    from sparsebench.bench.records import RunFolder

    folder = RunFolder.reading(run)
    accepted = read_baseline(baseline)
    noise = stored_noise(accepted.fingerprint)
    known = replace(settings, noise=None if noise is None else noise.log_sd)
    return check_run(folder, accepted, known)


@dataclass(frozen=True)
class Outputs:
    """Where and how a report goes out; see the options of `check`."""

    junit: Path | None
    markdown: Path | None
    badge: Path | None
    github: bool | None
    as_json: bool


def show(report: GateReport, baseline: Path, outputs: Outputs) -> int:
    """Write and print a report in every form that was asked for; the exit code."""
    from sparsebench.bench.gate.badge import badge_svg
    from sparsebench.bench.gate.machines import github_annotations, junit_xml, report_json
    from sparsebench.bench.gate.render import markdown_report, terminal_report

    if outputs.junit is not None:
        write(outputs.junit, junit_xml(report, baseline))
    if outputs.markdown is not None:
        write(outputs.markdown, markdown_report(report, baseline))
    if outputs.badge is not None:
        write(outputs.badge, badge_svg(report))
    if outputs.as_json:
        echo_json(report_json(report))
    else:
        from sparsebench.bench.cli.console import show as print_parts

        print_parts(terminal_report(report, baseline))
    in_actions = os.environ.get("GITHUB_ACTIONS") == "true" and not outputs.as_json
    if in_actions if outputs.github is None else outputs.github:
        for line in github_annotations(report, baseline):
            print(line)  # made of escaped parts, and meant to be a command
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown_report(report, baseline))
    return report.exit_code


@baseline_app.command("update", epilog=UPDATE_EPILOG)
def update(
    run: Annotated[Path, typer.Argument(help="Folder of the run whose numbers are accepted.")],
    out: Annotated[Path, typer.Option(help="Baseline file; its limits and reasons are kept.")],
    reason: Annotated[str, typer.Option(help="Why: it is written into the file.")],
) -> None:
    """Accept a run's numbers as the baseline of the gate."""
    from sparsebench.bench.gate import baseline_of, read_baseline, write_baseline
    from sparsebench.bench.records import RunFolder

    previous = read_baseline(out) if out.exists() else None
    made = baseline_of(RunFolder.reading(run), escape.lines(reason), previous)
    write_baseline(out, made.baseline)
    count = len(made.baseline.cells)
    echo(f"{out}: {count} {'cell' if count == 1 else 'cells'} of {run}")
    if made.baseline.busy:
        echo(f"  {made.baseline.busy}")
    for name, why in made.left_out:
        echo(f"  left out: {name}: {why}")
    if previous:
        kept = {tuple(cell.key.values()) for cell in made.baseline.cells}
        for cell in previous.cells:
            if tuple(cell.key.values()) not in kept:
                echo(f"  no longer gated: {' · '.join(map(str, cell.key.values()))}")
