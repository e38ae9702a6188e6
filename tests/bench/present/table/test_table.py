"""One table, and what each of its forms makes of the same lines."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from sparsebench.bench.present.table import Column, Entry, Line, Table, terminal, written
from tests.bench.conftest import Result
from tests.bench.synthetic import make_run

NAMES = ("resnet18/dense", "resnet18/gmp_uniform-90@my|file#1")
LATIN = " ".join(map(chr, range(0xA0, 0x180)))


def table(**changes: object) -> Table:
    entries = [
        (Entry(name), Entry(engine), Entry(f"{number}.5×", "(1.0–9.9)"), Entry("–"), Entry("extra"))
        for name in NAMES
        for number, engine in enumerate(("torch", "onnxruntime int8"), 2)
    ]
    columns = (Column("backbone"), Column("engine"), Column("speed-up", True), Column("empty"),
               Column("more", minor=True))  # fmt: skip
    lines = tuple(Line(line) for line in entries)
    return Table("50% & more", columns, lines, ("A _note_.",), **changes)  # type: ignore[arg-type]


def printed(made: Table, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(terminal(made))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_markdown_keeps_names_as_text_and_columns_apart() -> None:
    text = written([table()], "markdown")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 6 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert "gmp\\_uniform-90@my\\|file\\#" in text and "A \\_note\\_." in text
    assert "empty" not in text and "| extra |" in text


def test_csv_is_read_back_as_it_was() -> None:
    rows = list(csv.reader(io.StringIO(written([table(), table()], "csv"))))
    assert rows[0] == ["50% & more"] and rows[1][:3] == ["backbone", "engine", "speed-up"]
    assert rows[4][:3] == [NAMES[1], "torch", "2.5× (1.0–9.9)"]
    assert rows[7] == rows[0] and rows[6] == []


def test_latex_escapes_what_latex_would_obey() -> None:
    text = written([table(), table()], "latex")
    assert text.startswith("% Needs \\usepackage{booktabs,graphicx}") and text.count("Needs") == 1
    assert r"\caption{50\% \& more}" in text and r"\begin{tabular}{llr}" in text
    assert r"backbone & engine & \begin{tabular}" not in text  # a short title is one line
    assert r"gmp\_uniform-90@my$|$file\#1 & torch & 2.5$\times$ (1.0--9.9) \\" in text
    assert "extra" not in text  # the main columns alone fit a page


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize(
    "name", ["plain", "Größe_50%$\\^~#", "模型/ψ²→∞ 🙂", "a|b<c>`d'\"e", LATIN]
)
def test_latex_sets_any_name_and_nothing_leaves_the_page(tmp_path: Path, name: str) -> None:
    long = "a reason that explains in many words why this cell has failed " * 3
    lines = tuple(Line((Entry(name), Entry("1.00×", "(0.98–1.03)"), Entry(long))) for _ in range(3))
    columns = (Column(name), Column("vs best dense engine", True), Column("reason"))
    body = written([table(), Table(name, columns, lines, (name,))], "latex")
    start = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "a.tex").write_text(f"{start}\n{body}\\end{{document}}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-1000:]
    log = (tmp_path / "a.log").read_text(errors="replace")
    assert "Overfull" not in log and "Missing character" not in log


def test_a_wide_terminal_has_one_line_each_and_no_empty_column() -> None:
    lines = printed(table(), 100)
    assert lines[0] == "50% & more" and len(lines) == 2 + 1 + 4 + 1
    assert lines[3].split() == ["resnet18/dense", "torch", "2.5×", "(1.0–9.9)"]


def test_where_a_line_is_too_long_the_name_goes_above_it() -> None:
    lines = printed(table(), 45)
    assert max(map(len, lines)) <= 45
    assert NAMES[1] in lines and "torch" in lines[lines.index(NAMES[1]) + 1]


def test_grouped_lines_have_their_name_once_whatever_the_width() -> None:
    for width in (200, 40):
        lines = printed(table(grouped=True), width)
        assert [line for line in lines if line in NAMES] == list(NAMES)


@pytest.mark.parametrize("width", [12, 20, 30])
def test_nothing_is_cut_off_where_there_is_no_room(width: int) -> None:
    lines = printed(table(), width)
    assert max(map(len, lines)) <= width
    letters = "".join("".join(lines).split())
    assert "…" not in letters and letters.count("2.5×") == 2


def test_commands_print_their_tables_in_every_form(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        made = make_run(seed=seed, blocks=2, engines=("torch",))
        made.write(tmp_path / name)
    compared = ("compare", tmp_path / "a", tmp_path / "b")
    assert cli(*compared, "--format", "latex").out.splitlines()[1] == r"\begin{table*}"
    rows = list(csv.reader(io.StringIO(cli("list", "plans", "--format", "csv").out)))
    assert rows[0] == ["plan", "what"] and "quick" in {row[0] for row in rows}
    assert cli("list", "engines", "--format", "markdown").out.startswith("| engine |")
    assert cli(*compared, "--format", "pdf").code == 2
    assert cli("report", tmp_path / "a", "--out", tmp_path / "a.tex").code == 0
    text = (tmp_path / "a.tex").read_text()
    assert text.count("\\begin{table*}") == text.count("\\end{table*}") > 3
    assert "acdc-90 & torch &" in text
