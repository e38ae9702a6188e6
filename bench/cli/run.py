"""``sparsebench run``: measure the cells of a plan."""

from __future__ import annotations

import glob
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsebench.bench.cli.baselines import named_baselines
from sparsebench.bench.cli.idle_options import idle_options
from sparsebench.bench.cli.options import AllowImageLoss, Json, a_place, fraction
from sparsebench.bench.cli.say import echo
from sparsebench.bench.plan.plan import Plan, load_plan
from sparsebench.bench.plan.sections import notice, section_options
from sparsebench.bench.present import escape
from sparsebench.bench.workloads.full import Full
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError
from sparsebench.models.installing import typed_here

EPILOG = """Examples:

  sparsebench run quick

  sparsebench run quick --task path/to/images --backbone efficientnet_lite0/dense

  sparsebench run quick --engine deepsparse --batch-size 16 --repeats 5 --out R

  sparsebench run speed --batch-size 1 --batch-size 16 --batch-size 64

  sparsebench run quick --half-width 3% --budget 60

  sparsebench run quick --workload serving --batch-size 1 --rate 50 --streams 2

  sparsebench run quick --workload full --workload linear-online --set full.recipe=short

  sparsebench run quick --workload full --engine torch --engine torch:bf16 --engine native

  sparsebench run quick --workload full --engine torch --processes 2 --threads 2

  sparsebench run quick --backbone pruned.pth --dense dense.pth --task images/

  sparsebench run quick --backbone my.onnx --dense dense.onnx --engine onnxruntime

  sparsebench run my-plan.toml --dry-run

  sparsebench run my-plan.toml --out R --resume

  sparsebench run my-plan.toml --ray 10.0.0.1:6379
"""


def run(
    plan: Annotated[str, typer.Argument(help="A preset (see `list plans`) or a TOML file.")],
    backbone: Annotated[
        list[str] | None, typer.Option(help="Backbone, or an ONNX file; give it once for each.")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine, or engine:precision; once for each.")
    ] = None,
    dense_engine: Annotated[
        list[str] | None,
        typer.Option(help="Engine for the dense baselines only; once for each."),
    ] = None,
    workload: Annotated[list[str] | None, typer.Option(help="Workload; once for each.")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task name, or an ImageFolder directory or tar; once for each."),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Where downloadable data sets lie or go.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(help="CPU threads (default: all); once for each.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(help="Images per engine call or step; once for each.")
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(help="Input side in pixels (default: the backbone's); once for each."),
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Blocks of fresh processes.")] = None,
    half_width: Annotated[
        str | None, typer.Option(help="Measure until speed-ups are within ± this: 3% or 0.03.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="With --half-width: seconds for each comparison.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of a head; once for each.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many images of a task.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the linear head.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="How linear-online and full train: paper or short.")
    ] = None,
    train_epochs: Annotated[
        int | None, typer.Option(help="Their epochs (default: the recipe's).")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Their learning rate (default: its own).")
    ] = None,
    prepared: Annotated[
        bool, typer.Option("--prepared", help="linear-cached starts from decoded images.")
    ] = False,
    tune: Annotated[
        str | None, typer.Option(help="on: autotune the full workload; off: do not.")
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-deterministic",
            help="full takes kernels that give the same bits every time; the cost is shown.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A key of a workload's section: full.epochs=3; once for each."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="full: processes that share each batch; only non-zeros travel."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="serving: requests a second that arrive (0: no queue).")
    ] = None,
    streams: Annotated[
        int | None, typer.Option(help="serving: sessions at once, which share the threads.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="Head solver: sgd or lbfgs.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="top1 or mean_per_class; of boxes map50 or map50_95.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, bf16 or int8; once for each.")
    ] = None,
    dense: Annotated[
        list[str] | None,
        typer.Option(help="Dense baseline: SPARSE=DENSE, one for all sparse backbones, or auto."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on an image that cannot be read.")
    ] = False,
    own_head: Annotated[
        bool,
        typer.Option(
            "--own-head",
            help="Score the networks as they are, too: their outputs are the task's classes.",
        ),
    ] = False,
    allow_image_loss: AllowImageLoss = False,
    out: Annotated[
        Path | None, typer.Option(callback=a_place, help="Run folder (default: runs/PLAN-TIME).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(help="Measure on the nodes of this Ray cluster: HOST:PORT, or auto."),
    ] = None,
    log_to: Annotated[
        list[str] | None,
        typer.Option(help="Log the result to wandb, mlflow or tensorboard too; once for each."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and how long they will take.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure time and accuracy of sparse backbones against their dense baselines."""
    settings = {
        "epochs": epochs, "solver": solver, "prepared": prepared or None, "recipe": recipe,
        "train_epochs": train_epochs, "lr": lr, "tune": tune, "deterministic": deterministic,
    }  # fmt: skip
    chosen = load_plan(plan).with_changes(
        backbones=tuple(backbone or ()),
        engines=tuple(engine or ()),
        dense_engines=tuple(dense_engine or ()),
        workload_engines={} if engine else None,
        workloads=tuple(workload or ()),
        tasks=tuple(_absolute(name) for name in task or ()),
        data_dir=data_dir,
        threads=threads,
        batch_size=batch_size,
        size=size,
        repeats=repeats,
        half_width=None if half_width is None else fraction(half_width, "--half-width"),
        budget_seconds=budget,
        seeds=tuple(seed or ()),
        limit=limit,
        **settings,
        metric=metric,
        device=device,
        precision=precision,
        strict=strict or None,
        sections=_sections(
            set_ or [],
            serving={"rate": rate, "streams": streams},
            full={"processes": processes},
        )
        or None,
        own_head=own_head or None,
        allow_image_loss=allow_image_loss or None,
    )
    if dense:
        chosen = chosen.with_changes(dense=named_baselines(dense, chosen.backbones))
    if processes is not None and Full.name not in chosen.workloads:
        raise SparsebenchError(
            "--processes is for training, and this plan trains no network.",
            f"Add --workload {Full.name}.",
        )
    stand_for = {"serving": {"rate": rate, "streams": streams}}
    idle = idle_options(chosen, {**settings, "budget": budget}, stand_for, set_ or ())
    for told in filter(None, (notice(chosen), idle)):
        echo(f"Note: {told}", err=True)
    from sparsebench.bench.cli.run_display import RunDisplay, print_outcome
    from sparsebench.bench.comparisons.busy import busy_now
    from sparsebench.bench.plan.obstacles import photos_instead
    from sparsebench.bench.plan.validation import check
    from sparsebench.bench.publish.trackers import check_tracker, log_run
    from sparsebench.bench.run.cluster import Cluster
    from sparsebench.bench.run.execute import execute

    check(chosen)
    for tracker in log_to or ():
        check_tracker(tracker)
    if dry_run:
        from sparsebench.bench.cli.dry_run import print_forecast

        print_forecast(chosen, as_json=as_json)
        return
    warned = None if ray else busy_now()  # other machines measure
    if warned:
        echo(warned, err=True)
    folder = run_folder(chosen, out, resume)
    with ExitStack() as stack:
        elsewhere = stack.enter_context(Cluster(ray)).measure if ray else None
        display = stack.enter_context(RunDisplay(quiet=as_json))
        try:
            outcome = execute(chosen, folder, resume=resume, display=display, elsewhere=elsewhere)
        except KeyboardInterrupt:
            display.stop()
            echo(f"\nStopped; every finished trial is in {folder}. To resume:", err=True)
            again = ["sparsebench", "run", plan, "--out", str(folder), "--resume"]
            again += ["--ray", ray] if ray else []
            echo(typed_here(f"  {escape.shell(again)}"), err=True)
            echo("(with the same options as before)", err=True)
            raise
    print_outcome(outcome, as_json=as_json, warned=warned)
    if photos := photos_instead(chosen):
        echo(photos, err=True)
    if not outcome.measured:
        raise NothingMeasuredError(
            "Nothing was measured: every cell failed.", f"The reasons are in {folder}/summary.md."
        )
    for tracker in log_to or ():
        log_run(outcome.folder, tracker)


def _sections(
    options: list[str], **stand_for: dict[str, float | int | None]
) -> dict[str, dict[str, Any]]:
    """Workload -> key -> value, from ``--set`` and the options that stand for one."""
    found = section_options(options)
    for workload, values in stand_for.items():
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            found[workload] = {**found.get(workload, {}), **given}
    return found


def _absolute(task: str) -> str:
    """A path given on the command line, such that the resolved plan works elsewhere."""
    from sparsebench.bench.tasks import TASKS

    path = Path(task).expanduser()
    return str(path.resolve()) if task not in TASKS and path.exists() else task


def run_folder(plan: Plan, out: Path | None, resume: bool) -> Path:
    """The folder that a run writes: the one named, the newest of its plan, or a new one."""
    return out or (_newest(plan) if resume else _fresh(plan))


def _fresh(plan: Plan) -> Path:
    return Path("runs") / f"{plan.name}-{datetime.now():%Y%m%d-%H%M%S}"


def _newest(plan: Plan) -> Path:
    folders: list[Any] = sorted(Path("runs").glob(f"{glob.escape(plan.name)}-*"))
    if not folders:
        raise SparsebenchError(
            f"There is no run of '{plan.name}' under runs/ to resume.", "Name it with --out."
        )
    newest: Path = folders[-1]
    return newest
