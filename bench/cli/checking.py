"""``sparsebench check`` and ``sparsebench baseline``: the gate and what it gates against."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Json, fraction
from models.errors import SparsebenchError

EPILOG = """Examples:

  sparsebench check runs/today --baseline results/baselines/ci.toml

  sparsebench check runs/today --baseline ci.toml --effect 3% --junit check.xml --markdown check.md

Exit codes: 0 no regression, 1 a regressed, failed or missing cell, 2 refused (another machine,
other settings, a limit below the noise), 3 nothing was measured.
"""
UPDATE_EPILOG = """Examples:

  sparsebench baseline update runs/today --out ci.toml --reason "DeepSparse 1.8.0 on the new runner"
"""

baseline_app = typer.Typer(help="Baselines of the gate.", no_args_is_help=True)


def check(
    run: Annotated[Path, typer.Argument(help="Folder of the run to judge.")],
    baseline: Annotated[Path, typer.Option(help="Baseline file (`baseline update` writes one).")],
    effect: Annotated[
        str, typer.Option(help="Smallest change of a ratio that counts: 5% or 0.05.")
    ] = "5%",
    max_accuracy_loss: Annotated[
        float, typer.Option(help="Points of accuracy that may be lost against the baseline.")
    ] = 0.5,
    only: Annotated[str, typer.Option(help="Regular expression: judge only such cells.")] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on a cell too noisy to show the effect.")
    ] = False,
    across_machines: Annotated[
        bool,
        typer.Option("--across-machines", help="Judge accuracies, floors and missing cells only."),
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull request here.")
    ] = None,
    github: Annotated[
        bool | None,
        typer.Option(help="Print GitHub annotations (default: inside GitHub Actions)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a run by a baseline: ratios and accuracies, never absolute times."""
    from bench.gate import Settings, check_run, read_baseline
    from bench.gate.machines import github_annotations, junit_xml, report_json
    from bench.gate.render import markdown_report, terminal_report
    from bench.noise import stored_noise
    from bench.records import RunFolder

    folder = RunFolder.reading(run)
    accepted = read_baseline(baseline)
    noise = stored_noise(accepted.fingerprint)
    settings = Settings(
        effect=fraction(effect, "--effect"),
        max_accuracy_loss=max_accuracy_loss,
        across_machines=across_machines,
        only=only,
        strict=strict,
        noise=None if noise is None else noise.log_sd,
    )
    report = check_run(folder, accepted, settings)
    if junit is not None:
        write(junit, junit_xml(report, baseline))
    if markdown is not None:
        write(markdown, markdown_report(report, baseline))
    if as_json:
        import json

        print(json.dumps(report_json(report), indent=1))
    else:
        from rich.console import Console

        console = Console(highlight=False, soft_wrap=True)
        if not console.is_terminal:  # a log is as wide as it needs to be
            console.width = max(console.width, 110)
        for item in terminal_report(report, baseline):
            console.print(item)
    in_actions = os.environ.get("GITHUB_ACTIONS") == "true"
    if (in_actions and not as_json) if github is None else github:
        for line in github_annotations(report, baseline):
            print(line)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown_report(report, baseline))
    raise typer.Exit(report.exit_code)


@baseline_app.command("update", epilog=UPDATE_EPILOG)
def update(
    run: Annotated[Path, typer.Argument(help="Folder of the run whose numbers are accepted.")],
    out: Annotated[Path, typer.Option(help="Baseline file; its limits and reasons are kept.")],
    reason: Annotated[str, typer.Option(help="Why: it is written into the file.")],
) -> None:
    """Accept a run's numbers as the baseline of the gate."""
    from bench.gate import baseline_of, read_baseline, write_baseline
    from bench.records import RunFolder

    previous = read_baseline(out) if out.exists() else None
    made = baseline_of(RunFolder.reading(run), reason, previous)
    write_baseline(out, made.baseline)
    typer.echo(f"{out}: {len(made.baseline.cells)} cells of {run}")
    for name, why in made.left_out:
        typer.echo(f"  left out: {name}: {why}")
    if previous:
        kept = {tuple(cell.key.values()) for cell in made.baseline.cells}
        for cell in previous.cells:
            if tuple(cell.key.values()) not in kept:
                typer.echo(f"  no longer gated: {' · '.join(map(str, cell.key.values()))}")


def write(path: Path, text: str) -> None:
    """Write one report file.

    Raises:
        SparsebenchError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be written ({error.strerror}).") from error
