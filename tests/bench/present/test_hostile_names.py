"""A hostile name through every command that reads a run, and into every output."""

from __future__ import annotations

import csv
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from sparsebench.bench.paper import Reproduction
from sparsebench.bench.present.summaries import write_summaries
from tests.bench.conftest import Result
from tests.bench.synthetic import SyntheticRun, make_run

NASTY = (
    "n\n::set-output name=a::b\r\n  ::error::c\x00\x1b[31m\x07\x9b1m\u202e\u2028| y |\n# z `q` "
    "##[add-mask]q <script>alert(1)</script> ![i](http://evil.example/i.png) [bold]r[/] [/x] "
    "@octocat www.evil.example #17 \udcff"
)
Cli = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("coarse_figures")


def hostile(run: SyntheticRun) -> SyntheticRun:
    """Task, one backbone, its engine's version, reasons and packages are hostile."""
    records = []
    for record in run.records:
        backbone = record.backbone
        if backbone.name == "resnet18/acdc-90":
            backbone = replace(backbone, name=f"resnet18/acdc-90@{NASTY}", licence=NASTY)
        failed = record.reason and f"it failed: {NASTY}"
        records.append(
            replace(
                record,
                backbone=backbone,
                task=replace(record.task, name=f"=task {NASTY}"),
                engine=replace(record.engine, version=f"1 {NASTY}"),
                packages={f"torch {NASTY}": NASTY},
                machine={**record.machine, "cpu": f"CPU {NASTY}"},
                reason=failed,
                extra={"engine": {"licence": NASTY, "support": NASTY}},
            )
        )
    return SyntheticRun(records, run.trials)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of one machine, the second slower on sparse cells; their names are hostile too."""
    root = tmp_path_factory.mktemp("hostile")
    paths = []
    for seed in range(2):
        failed = [("inference", "resnet18/magnitude-50", "deepsparse")] if seed else []
        made = make_run(seed=seed, blocks=3, failed=failed, engines=("deepsparse", "onnxruntime"),
                        process=0.02)  # fmt: skip
        folder = hostile(made).write(root / f"run {seed} \n::error::\x1b[1m@you|")
        write_summaries(folder)
        paths.append(folder.path)
    return paths


def harmless_lines(text: str) -> None:
    """What may stand on a terminal and in the log of a CI job."""
    kinds = {unicodedata.category(c) for c in text.replace("\n", "")}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"} and "\u202e" not in text
    assert not any(line.strip().startswith("::") for line in text.splitlines())
    assert "##[" not in text


def harmless_markdown(text: str) -> None:
    """Rendered: no HTML but foldings, no link, image, or row that has another number of cells."""
    harmless_lines(text.replace("##[", ""))  # a command on standard output alone
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    tags = set(re.findall(r"<(/?[a-z0-9]+)", re.sub(r"<pre>.*?</pre>", "", html, flags=re.S)))
    allowed = "table thead tbody tr th td p h1 h2 h3 ul li strong code blockquote details summary"
    assert tags <= {f"{slash}{tag}" for tag in allowed.split() for slash in ("", "/")}
    for table in re.findall(r"<table>.*?</table>", html, flags=re.S):
        rows = re.findall(r"<tr>(.*?)</tr>", table, flags=re.S)
        assert len({len(re.findall("<t[hd]", row)) for row in rows}) == 1
    outside = re.sub(r"<code.*?</code>", "", html, flags=re.S)
    assert not re.search(r"(?<!\w)@\w|www\.evil|http://evil|#17", outside)


def files(folder: Path, *names: str) -> Iterator[str]:
    for name in names:
        yield (folder / name).read_text(encoding="utf-8")


def test_summaries(runs: list[Path]) -> None:
    for folder in runs:
        harmless_markdown((folder / "summary.md").read_text())
        ElementTree.parse(folder / "speedup-accuracy.svg")
        text = (folder / "summary.csv").read_text()
        harmless_lines(text)
        rows = list(csv.reader(text.splitlines()))
        assert len({len(row) for row in rows}) == 1
        assert not any(re.match(r"[=@]|[-+][^\d.]", cell) for row in rows for cell in row)


@pytest.mark.parametrize("width", ["70", "160"])
def test_terminal(runs: list[Path], cli: Cli, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("COLUMNS", width)
    commands: list[tuple[object, ...]] = [
        ("compare", *runs),
        ("advise", runs[0]),
        ("advise", runs[0], "--production", "--retrain-every", "day"),
        ("report", runs[0], "--out", runs[0].parent / "r.html"),
        ("report", *runs, "--json"),
        ("advise", runs[0], "--json"),
        ("compare", *runs, "--json"),
        ("reproduce", runs[0]),
        ("run", NASTY),
        ("run", "quick", "--backbone", NASTY, "--dry-run"),
        ("run", "quick", "--task", f"{NASTY}", "--dry-run"),
        ("inspect", NASTY),
        ("report", NASTY),
        ("list", NASTY),
    ]
    for command in commands:
        told = cli(*command)
        assert told.code in (0, 1, 2, 3, 4), command
        harmless_lines(told.out + told.err)


def test_run_display(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    from sparsebench.bench.cli.run_display import print_outcome
    from sparsebench.bench.records import RunFolder
    from sparsebench.bench.run.execute import Outcome

    for as_json in (False, True):
        print_outcome(Outcome(RunFolder.reading(runs[1]), 9, 1), as_json=as_json)
    harmless_lines(capsys.readouterr().out)


def test_report(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    assert cli("report", *runs, "--out", tmp_path / "r.md").code == 0
    assert cli("report", *runs, "--out", tmp_path / "r.html").code == 0
    harmless_markdown((tmp_path / "r.md").read_text())
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and not set("\x00\x1b\x07\x9b") & set(page)


def test_figures(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    told = cli("plot", *runs, "--figure", "all", "--out", tmp_path)
    harmless_lines(told.out + told.err)
    drawn = list(tmp_path.glob("*.svg"))
    assert len(drawn) >= 3
    for path in drawn:
        ElementTree.parse(path)


def test_latex_and_csv(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    for name in ("r.tex", "r.csv"):
        told = cli("report", *runs, "--out", tmp_path / name)
        assert told.code == 0
        harmless_lines(told.out + told.err)
    tex = (tmp_path / "r.tex").read_text(encoding="utf-8")
    harmless_lines(tex)
    rows = [line for line in re.sub(r"\\[&%$#_{}]", "", tex).splitlines() if "&" in line]
    assert rows and all(line.rstrip().endswith(r"\\") for line in rows)
    sheet = (tmp_path / "r.csv").read_text(encoding="utf-8")
    harmless_lines(sheet)
    cells = [cell for row in csv.reader(sheet.splitlines()) for cell in row]
    assert not any(re.match(r"[=@]|[-+][^\d.]", cell) for cell in cells)


def test_leaderboard(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    told = cli("leaderboard", *runs, "--out", tmp_path / "board.html")
    harmless_lines(told.out + told.err)
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and not set("\x00\x1b\x07\x9b") & set(page)


def test_history(runs: list[Path], cli: Cli, tmp_path: Path) -> None:
    for extra in ((), ("--json",)):
        told = cli("history", runs[0].parent, "--out", tmp_path, *extra)
        assert told.code in (0, 1)
        harmless_lines(told.out + told.err)
    ElementTree.parse(tmp_path / "history.svg")


def test_reproduce(
    runs: list[Path], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The figures of the paper's other networks hold no name of a run.
    monkeypatch.setattr(Reproduction, "archs", ["resnet18"])
    told = cli("reproduce", runs[0], "--out", tmp_path)
    assert told.code == 0
    harmless_lines(told.out + told.err)
    harmless_markdown((tmp_path / "tables.md").read_text())
    for path in tmp_path.glob("*.svg"):
        ElementTree.parse(path)


def test_the_gate(
    runs: list[Path], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    ci = tmp_path / "ci.toml"
    told = cli("baseline", "update", runs[0], "--out", ci, "--reason", NASTY)
    assert told.code == 0
    harmless_lines(told.out + told.err)
    tomllib.loads(ci.read_text(encoding="utf-8"))
    outputs = ("--junit", tmp_path / "c.xml", "--markdown", tmp_path / "c.md")
    told = cli("check", runs[1], "--baseline", ci, *outputs)
    assert told.code == 1
    commands = [line for line in told.out.splitlines() if line.startswith("::")]
    assert commands and all(
        re.match(r"::(error|warning|notice) title=[^:,]*::", one) for one in commands
    )
    harmless_lines("\n".join(line for line in told.out.splitlines() if line not in commands))
    badge = tmp_path / "badge.svg"
    cli("check", runs[1], "--baseline", ci, "--badge", badge)
    ElementTree.parse(badge)
    for name in ("c.md", "step.md"):
        harmless_markdown((tmp_path / name).read_text())
    cases = ElementTree.parse(tmp_path / "c.xml").findall(".//testcase")
    told = cli("check", runs[1], "--baseline", ci, "--json")
    harmless_lines("\n".join(x for x in told.out.splitlines() if not x.startswith("::")))
    assert len(cases) >= 4


def test_no_command_prints_beside_the_escaping_functions() -> None:
    """A new ``print`` or console in the commands would let a name through again."""
    import sparsebench.bench.cli as package

    for path in Path(package.__path__[0]).glob("*.py"):
        if path.name in ("say.py", "console.py"):
            continue
        found = re.findall(r"typer\.echo\(|(?<![\w.])print\(.*|\bConsole\(", path.read_text())
        assert [one for one in found if "meant to be a command" not in one] == [], path
