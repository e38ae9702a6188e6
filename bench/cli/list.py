"""``sparsebench list``: what there is to measure, and what measures it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsebench.bench.cli.options import Format, Json
from sparsebench.bench.cli.say import echo_json
from sparsebench.models.errors import UnknownNameError

EPILOG = """Examples:

  sparsebench list backbones

  sparsebench list engines --json

  sparsebench list tasks --data-dir path/to/data

  SPARSEBENCH_PAPER=~/checkpoints sparsebench list paper
"""
Rows = tuple[list[str], list[list[Any]]]


def list_names(
    what: Annotated[
        str,
        typer.Argument(
            help="backbones, paper (its checkpoints), engines, tasks, workloads, plans or methods."
        ),
    ],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where to look for data sets (tasks only).")
    ] = None,
    form: Format = "",
    as_json: Json = False,
) -> None:
    """List backbones, the paper's checkpoints, engines, tasks, workloads, plans or methods."""
    if what not in _LISTS:
        raise UnknownNameError("list", what, _LISTS)
    head, rows = _tasks(data_dir) if what == "tasks" else _LISTS[what]()
    if as_json:
        echo_json([dict(zip(head, row, strict=True)) for row in rows])
        return
    from sparsebench.bench.cli.console import new_console, show
    from sparsebench.bench.present.table import Table

    below: list[str] = []
    if form in ("", "terminal") and new_console().width < _WIDE:
        head, rows, below = _narrowed(what, head, rows)
    if what == "tasks":
        below.append("? reported for the paper's split, not verified")
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    show([Table.of("", head, texts, *below, words=len(head))], form)


# Eight columns in fewer cells would be words cut to pieces.
_WIDE = 130


def _narrowed(
    what: str, head: list[str], rows: list[list[Any]]
) -> tuple[list[str], list[list[Any]], list[str]]:
    """A table that fits 80 columns, and lines to stand below it."""
    if what == "tasks":
        return head[:-1], [row[:-1] for row in rows], []
    if what == "paper":  # few places, long addresses: numbered
        places = list(dict.fromkeys(row[-1] for row in rows))
        numbered = [[*row[:-1], f"[{places.index(row[-1]) + 1}]"] for row in rows]
        return head, numbered, [f"[{n}] {place}" for n, place in enumerate(places, 1)]
    if what == "methods":
        merged = [[*row[:-2], f"{row[-1]} ({row[-2]})"] for row in rows]
        return [*head[:-2], "what (source)"], merged, []
    return head, rows, []


class _Reported(int):
    """A number that is shown with a question mark; in JSON it is a number."""

    def __str__(self) -> str:
        return f"{int(self)}?"


def _backbones() -> Rows:
    from sparsebench.models.zoo import list_cards

    rows: list[list[Any]] = []
    for card in list_cards():
        accuracy = card.upstream_accuracy
        rows.append(
            [
                card.name,
                card.family,
                "yes" if card.trained else "no",
                card.preprocessing.size,
                None if accuracy is None else f"{accuracy:.1%}",
            ]
        )
    rows.append(["FILE.onnx", "any", "?", None, None])
    return ["backbone", "family", "trained", "px", "top-1"], rows


def _paper() -> Rows:
    from sparsebench.models.sources.paper import file_of, name_of
    from sparsebench.models.sources.paper_list import PUBLISHED

    rows: list[list[Any]] = []
    for one in PUBLISHED:
        accuracy = None if one.top1 is None else f"{one.top1:.2%}"
        path = file_of(one)
        rows.append(
            [
                name_of(one),
                accuracy,
                f"missing: {one.stems[0]}.pth" if path is None else path.name,
                one.where,
            ]
        )
    return ["backbone", "top-1", "file", "published"], rows


def _engines() -> Rows:
    from sparsebench.exporters.worker.launch import ENGINES, engine

    rows = []
    for name in ENGINES:
        one = engine(name)
        environment = one.environment or "this one"
        rows.append([name, "/".join(one.devices), "/".join(one.precisions), one.reads, environment])
    return ["engine", "devices", "precisions", "reads", "environment"], rows


def _tasks(data_dir: Path | None = None) -> Rows:
    from sparsebench.bench.tasks import HUB, TASKS
    from sparsebench.bench.tasks.base import TaskOptions
    from sparsebench.bench.tasks.known_tasks import FACTS
    from sparsebench.bench.tasks.presence import has_hub_library, is_here, origin
    from sparsebench.models.registry import load_target

    root = data_dir.expanduser() if data_dir else TaskOptions().cache_folder("downloads")
    words = {True: "yes", False: "no", None: "?"}
    rows: list[list[Any]] = []
    for name in TASKS:
        facts = FACTS.get(name)
        sizes: list[Any] = [None] * 4
        if facts:
            sides = {"train": facts.train, "test": facts.test}
            sizes = [
                facts.classes,
                *(_Reported(n) if side in facts.unverified else n for side, n in sides.items()),
                facts.metric,
            ]
        what = _first_line(load_target(TASKS.target(name)))
        rows.append([name, *sizes, words[is_here(name, root)], origin(name), what])
    library = None if has_hub_library() else "no"
    rows.append(
        [
            *(f"{HUB}OWNER/NAME", None, None, None, "top1", library, "Hugging Face"),
            "Any of its data sets of images and classes; needs the extra 'hub'.",
        ]
    )
    rows.append(
        [
            *("DIRECTORY or TAR", None, None, None, "top1", None, "your copy"),
            "Your own images: train/CLASS/*.jpg and test/CLASS/*.jpg.",
        ]
    )
    return ["task", "classes", "train", "test", "metric", "here", "from", "what"], rows


def _workloads() -> Rows:
    from sparsebench.bench.plan.workloads import WORKLOADS

    rows = [[name, _first_line(WORKLOADS.load(name))] for name in WORKLOADS]
    return ["workload", "what"], rows


def _plans() -> Rows:
    from sparsebench.bench.plan.plan import load_plan, preset_names

    return ["plan", "what"], [[name, load_plan(name).description] for name in preset_names()]


def _methods() -> Rows:
    from sparsebench.models.generated import GENERATED_METHODS
    from sparsebench.models.methods import METHODS
    from sparsebench.models.oneshot import ONE_SHOT_METHODS

    rows: list[list[Any]] = []
    for name in METHODS:
        method = METHODS.load(name)
        start = "start" if method.needs_start else ""
        blocks = " In blocks too: --block 4." if method.has_blocks else ""
        rows.append([name, method.family, start, method.source, _first_line(method) + blocks])
    for name, function in ONE_SHOT_METHODS.items():
        rows.append([name, "one-shot", "start", "no training", _first_line(function)])
    for name in GENERATED_METHODS:
        rows.append([name, "generated", "", "no training", "NAME@generated: random weights."])
    return ["method", "family", "needs", "source", "what"], rows


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0] if thing.__doc__ else ""


_LISTS: dict[str, Callable[[], Rows]] = {
    "backbones": _backbones,
    "paper": _paper,
    "engines": _engines,
    "tasks": _tasks,
    "workloads": _workloads,
    "plans": _plans,
    "methods": _methods,
}
