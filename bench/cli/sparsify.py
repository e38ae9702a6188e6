"""``sparsebench sparsify``: make a sparse backbone from one's own images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsebench.bench.cli.options import AllowImageLoss, Json, a_place
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.bench.present import escape
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import typed_here
from sparsebench.models.names import PATTERN_SPARSITY

EPILOG = """Examples:

  sparsebench sparsify resnet18 --method acdc --sparsity 0.9 --data images --epochs 12 --out x.safetensors

  sparsebench sparsify resnet18 --method gmp --sparsity 0.95 --data images --epochs 10 --start resnet18/dense --teacher resnet18/dense --out y.safetensors

  sparsebench sparsify --plan models/zoo/plans/resnet18-acdc-90.toml --data images --out z.safetensors

  sparsebench sparsify resnet18 --method rigl --sparsity 0.9 --show-recipe

Images: DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg (or val). Ctrl-C loses nothing: the
same command resumes. Measure what came out:

  sparsebench run quick --backbone x.safetensors --task images
"""  # noqa: E501


def sparsify(
    arch: Annotated[str | None, typer.Argument(help="Architecture, e.g. resnet18.")] = None,
    method: Annotated[
        str | None, typer.Option(help="Method (`sparsebench list methods`), or dense.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of all weights that shall be zero, e.g. 0.9.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder or tar with train/CLASS/* and test/CLASS/*.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    out: Annotated[
        Path | None, typer.Option(callback=a_place, help="File to write, *.safetensors.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint or backbone to start from. Without one, methods that prune a "
            "trained network train a dense one in the first half of the epochs, and keep it."
        ),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Backbone or file to distil from, of the same classes.")
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="TOML file that says all this; options given here win.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is.")] = "auto",
    block: Annotated[
        int | None,
        typer.Option(
            help="Input channels that are pruned together, e.g. 4 for engines with INT8 "
            "instructions (default: 1). The method is then named like gmp_block4."
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="2:4 keeps two of every four inputs, for GPUs (gmp, acdc); --sparsity is then "
            "0.5, and the method named like gmp_2of4."
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the images in pixels (default: the start's own, or 64)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is random (default: 0).")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step (default: the method's, or what fits).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate (default: the method's).")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp32, or auto: bf16 where it is faster.")
    ] = None,
    compile_: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="Fuse the network first: a minute, then faster."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted training.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
    show_recipe: Annotated[
        bool,
        typer.Option(
            "--show-recipe", help="Print the plan (and SparseML's recipe, if equal); no training."
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on an image that cannot be read.")
    ] = False,
    allow_image_loss: AllowImageLoss = False,
    as_json: Json = False,
) -> None:
    """Train a sparse backbone on your own images and write it to a file."""
    settings = _settings(
        plan,
        arch=arch,
        method=method,
        sparsity=sparsity,
        epochs=epochs,
        start=start,
        teacher=teacher,
        block=block,
        pattern=pattern,
        size=size,
        seed=seed,
    )
    recipe = dict(settings.pop("recipe", {}))
    recipe |= _given(batch_size=batch_size, learning_rate=learning_rate)
    execution = dict(settings.pop("execution", {}))
    execution |= _given(precision=precision, compile=compile_)
    settings.pop("note", None)
    settings.pop("sparseml", None)
    if settings.get("method") == "dense":
        settings.setdefault("sparsity", 0.0)
    if settings.get("pattern"):
        settings.setdefault("sparsity", PATTERN_SPARSITY)
    _require(settings, "arch", "method", "sparsity")
    if show_recipe:
        from sparsebench.models.sparsify.recipes import render_recipe

        echo(render_recipe(settings, recipe, execution))
        return
    _require(settings | _given(data=data, out=out), "epochs", "data", "out")
    assert data is not None
    assert out is not None
    from sparsebench.models.images.labelled import ReadOptions

    settings["reading"] = ReadOptions(strict=strict, allow_image_loss=allow_image_loss)
    _train(settings, recipe, execution, data, out, device, resume, overwrite, as_json)


def _train(
    settings: dict[str, Any],
    recipe: dict[str, Any],
    execution: dict[str, Any],
    data: Path,
    out: Path,
    device: str,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from sparsebench.bench.cli.sparsify_display import TrainingDisplay
    from sparsebench.models.images import open_images
    from sparsebench.models.images.losses import others_said
    from sparsebench.models.sparsify.train import Execution
    from sparsebench.models.sparsify.two_stages import make, stages

    _refuse_boxes(settings["arch"], data)
    first, rest = stages(settings["method"], settings["epochs"], settings.get("start"))
    images = open_images(data, settings["reading"])
    echo(
        f"{images.name}: {len(images.train)} training and {len(images.test)} test images of "
        f"{len(images.classes)} classes",
        err=True,
    )
    for line in (*images.losses.lines(), *filter(None, [others_said(images.others)])):
        echo(f"  {line}", err=True)
    if "size" not in settings:
        settings["size"] = _own_size(settings.get("start"))
    with TrainingDisplay(quiet=as_json) as display:
        if first:
            display.note(
                f"{settings['method']} prunes a trained network and no --start was given: "
                f"{first} of {first + rest} epochs train a dense one first, which is kept as "
                f"{out.stem}.dense.safetensors."
            )
        try:
            made = make(
                **settings,
                data=data,
                out=out,
                recipe=recipe or None,
                execution=Execution(**_checked(execution)),
                device=_device(device),
                resume=resume,
                overwrite=overwrite,
                stage=display.stage,
                progress=display.progress,
            )
        except KeyboardInterrupt:
            display.stop()
            last = display.last
            where = f" after step {last.step} of {last.total_steps}" if last else ""
            again = [a for a in sys.argv[1:] if a != "--no-resume"]
            echo(f"\nStopped{where}; nothing is lost. To resume:", err=True)
            echo(typed_here(f"  {escape.shell(['sparsebench', *again])}"), err=True)
            raise
    _print(made, as_json)


def _settings(plan: Path | None, **given: Any) -> dict[str, Any]:
    """What the plan says, with what the command line says in its place."""
    from sparsebench.models.sparsify.plans import read_plan

    return (read_plan(plan) if plan else {}) | _given(**given)


def _given(**values: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None}


def _require(settings: dict[str, Any], *names: str) -> None:
    missing = [n if n == "arch" else f"--{n}" for n in names if n not in settings]
    if not missing:
        return
    missing = ["ARCH" if n == "arch" else n for n in missing]
    fix = "Give it, or a --plan that says it."
    if "--method" in missing:
        fix += " `sparsebench list methods` shows the methods."
    raise SparsebenchError(f"{' and '.join(missing)} must be given.", fix)


def _refuse_boxes(arch: str, data: Path) -> None:
    """Say so where the network or the folder is for boxes: what is trained here tells classes.

    Raises:
        SparsebenchError: one of them is.
    """
    from sparsebench.bench.tasks.detection.layout import ROBOFLOW, find_format
    from sparsebench.models.architectures import find_architecture
    from sparsebench.models.images.tree import names_at_top

    fix = (
        "Sparsify a classifier, whose maps a head for boxes is then trained on; a trained detector "
        "is pruned in one shot by its name, as yolov5n/magnitude-90@best.pt, and `sparsebench run "
        "quick --workload full` trains such a network on, its zeros kept."
    )
    if find_architecture(arch).grids is not None:
        raise SparsebenchError(f"sparsify trains classifiers, and {arch} finds boxes.", fix)
    if data.is_dir() and find_format(names_at_top(data, ROBOFLOW), str(data)) is not None:
        raise SparsebenchError(f"sparsify trains classifiers, and {data} holds boxes.", fix)


def _own_size(start: str | None) -> int:
    """The image size of the network that is started from; 64 where it is not known."""
    if start is None:
        return 64
    from sparsebench.models.zoo import find_card

    try:
        return find_card(start).preprocessing.size
    except SparsebenchError:
        if Path(start).is_file():
            return 64
        raise


def _device(wanted: str) -> str:
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise SparsebenchError(f"There is no device '{wanted}'.", "Give cpu, cuda or auto.")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SparsebenchError("PyTorch finds no CUDA device here.", "Give --device cpu.")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def _checked(execution: dict[str, Any]) -> dict[str, Any]:
    precision = execution.get("precision", "auto")
    if precision not in ("auto", "bf16", "fp32"):
        raise SparsebenchError(f"There is no precision '{precision}'.", "Give bf16, fp32 or auto.")
    return execution


def _print(made: Any, as_json: bool) -> None:
    sparse = made.sparse
    if as_json:
        facts = {
            "out": str(sparse.path),
            "sparsity": sparse.sparsity,
            "accuracy": sparse.accuracy,
            "classes": len(sparse.classes),
            "values": sparse.values,
            "dense": str(made.dense_path) if made.dense_path else None,
            "images": dict(zip(("train", "test"), sparse.images, strict=True)),
            "skipped": list(sparse.skipped),
            "left_out": sparse.losses.to_json(),
            **sparse.facts,
        }
        echo_json(facts)
        return
    for line in sparse.skipped:
        echo(f"left out: {line}", err=True)
    echo(
        f"{sparse.path}: sparsity {sparse.sparsity:.2%}, top-1 {sparse.accuracy:.1%} on the test "
        f"images ({len(sparse.classes)} classes, {sparse.preprocessing.size} px)"
    )
    for key, value in sparse.facts.items():
        echo(f"  {key.replace('_', ' ')}: {value}")
    if made.dense_path:
        echo(f"  its dense baseline: {made.dense_path}")
    echo(f"Look into it:  sparsebench inspect {escape.shell([str(sparse.path)])}")
