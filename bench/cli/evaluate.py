"""``sparsebench evaluate``: the accuracy of a network as it is, under its own classifier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsebench.bench.cli.options import Json
from sparsebench.bench.cli.say import echo, echo_json

EPILOG = """Examples:

  sparsebench evaluate resnet50/acdc-90@paper --task imagenet-val --data-dir imagenet/val

  sparsebench evaluate pruned.pth --dense dense.pth --task path/to/images --own-head
"""


def evaluate(
    backbone: Annotated[str, typer.Argument(help="A backbone's name, a checkpoint or ONNX file.")],
    task: Annotated[
        str, typer.Option(help="imagenet-val, a task, or a folder or tar of images.")
    ] = "imagenet-val",
    data_dir: Annotated[
        Path | None, typer.Option(help="Of imagenet-val: your copy, a folder for each class.")
    ] = None,
    dense: Annotated[
        str | None, typer.Option(help="Dense network to compare with, image by image.")
    ] = None,
    own_head: Annotated[
        bool,
        typer.Option("--own-head", help="Its outputs are the task's classes in their order."),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="At most so many images.", min=1)] = None,
    size: Annotated[
        int | None, typer.Option(help="Input side in pixels (default: the backbone's).", min=8)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.", min=1)] = 64,
    as_json: Json = False,
) -> None:
    """Measure top-1, top-5 and ReaL of a network as it is: no head is trained."""
    from sparsebench.bench.heads.own_head import (
        IMAGENET_VAL,
        differences,
        evaluate_own_head,
        open_imagenet_val,
    )
    from sparsebench.bench.tasks import open_task

    if task == IMAGENET_VAL:
        images = open_imagenet_val(data_dir or Path("imagenet"), limit)
    else:
        images = open_task(task, data_dir, limit=limit)
    found = {
        name: evaluate_own_head(
            name, images, own_head=own_head, size=size, batch_size=batch_size, progress=_progress
        )
        for name in dict.fromkeys((backbone, *([dense] if dense else [])))
    }
    facts: dict[str, Any] = {"task": images.name, "images": len(images.test), "networks": []}
    for one in found.values():
        top1, data = one.published
        facts["networks"].append(
            {
                "backbone": one.name,
                **{n: _numbers(i) for n, i in one.intervals().items()},
                "published_top1": top1,
                "published_on": data,
            }
        )
    if dense and dense != backbone:
        changes = differences(found[backbone], found[dense])
        facts["difference"] = {name: _numbers(change) for name, change in changes.items()}
    if as_json:
        echo_json(facts)
        return
    echo(f"{facts['images']} images of {facts['task']}, own classifier, 95% intervals:")
    for one in facts["networks"]:
        echo(f"  {one['backbone']}: {_listed(one)}{_published(one)}")
    if "difference" in facts:
        echo(f"  sparse less dense, image by image: {_listed(facts['difference'], points=True)}")


def _progress(done: int, count: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{count}" + ("\n" if done == count else ""))


def _numbers(interval: Any) -> dict[str, Any]:
    return {"value": interval.mid, "ci95": [interval.low, interval.high], "images": interval.count}


def _listed(numbers: dict[str, Any], *, points: bool = False) -> str:
    sign, unit = ("+", " points") if points else ("", "%")
    return ", ".join(
        f"{name} {100 * one['value']:{sign}.2f}{unit} "
        f"({100 * one['ci95'][0]:{sign}.2f} to {100 * one['ci95'][1]:{sign}.2f})"
        for name, one in numbers.items()
        if isinstance(one, dict)
    )


def _published(one: dict[str, Any]) -> str:
    if one["published_top1"] is None:
        return ""
    return f"; published: {100 * one['published_top1']:.2f}% on {one['published_on']}"
