"""Escaping for each kind of output: what any text may not do there, and that names stay legible."""

from __future__ import annotations

import csv
import io
import re
import shlex
import subprocess
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sparsebench.bench.present import escape

NAMES = (
    "resnet18/acdc-90 on deepsparse",
    "Grüße · 日本語 · naïve ±0.3 × 2",
    "linear-cached: 3.31× (3.2-3.4), 95 % interval",
)
HOSTILE = (
    "x\n::set-output name=a::b\r\n::error::c\x00\x1b[31m\x07\x9b1m\u202e\u2028|y|`z` ##[add-mask]q "
    "<script>alert(1)</script> ![i](http://evil.example/i.png) [l](javascript:x) @octocat "
    "a@evil.example www.evil.example https://evil.example #17 $x$ \udcff \uffff"
)
texts = st.text() | st.lists(
    st.sampled_from([*"\x00\x1b\r\n\t|`*_[]()<>@#$!\\:-+1. ", "::", "##[", "@you", "http://e.x"])
).map("".join)


def controls(text: str) -> list[str]:
    """Characters that control a terminal, reorder text or cannot be encoded."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize("name", NAMES)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    for function in (escape.visible, escape.terminal, escape.xml, escape.csv_cell):
        assert function(name) == name
    assert escape.markdown_code(name) == f"`{name}`"


@given(texts)
@example(HOSTILE)
def test_one_line_without_control_characters(text: str) -> None:
    shown = escape.visible(text)
    assert not controls(shown) and len(shown.splitlines()) <= 1
    shown.encode()


@given(texts)
@example(HOSTILE)
def test_the_terminal_sees_no_control_character_and_no_workflow_command(text: str) -> None:
    shown = escape.terminal(text)
    assert set(controls(shown)) <= {"\n"} and "##[" not in shown
    # The runner trims a line before it looks: ActionCommand.TryParseV2.
    assert not any(line.strip().startswith("::") for line in shown.splitlines())
    assert shown.count("\n") == text.count("\n")


@given(texts)
@example(HOSTILE)
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    """Rendered by another library: one paragraph of plain text."""
    plain = " ".join(escape.visible(text).split())
    html = MarkdownIt("gfm-like", {"linkify": False}).render(f"x {escape.markdown(text)} y")
    assert re.fullmatch(r"<p>[^<>]*</p>\n", html)
    told = html[3:-5].replace("\u200b", "")
    told = re.sub("&lt;", "<", told).replace("&gt;", ">").replace("&quot;", '"')
    assert " ".join(told.replace("&amp;", "&").split()) == f"x {plain} y".replace("  ", " ")


@given(texts)
@example(HOSTILE)
def test_markdown_starts_no_list_heading_or_quotation(text: str) -> None:
    html = MarkdownIt("gfm-like", {"linkify": False}).render(escape.markdown(text))
    assert re.fullmatch(r"(<p>[^<>]*</p>\n)?", html)


@given(st.lists(texts, min_size=3, max_size=3))
@example([HOSTILE] * 3)
def test_a_table_keeps_its_rows_and_columns(cells: list[str]) -> None:
    table = "\n".join(
        [escape.markdown_row("abc"), "| --- | --- | --- |", escape.markdown_row(cells)]
    )
    html = MarkdownIt("gfm-like", {"linkify": False}).render(f"{table}\n\nafter\n")
    assert html.count("<tr>") == 2 and html.count("<td") == 3
    assert html.endswith("</table>\n<p>after</p>\n")


@pytest.mark.parametrize(
    "raw",
    ["@octocat", "a@evil.example", "www.evil.example", "https://evil.example", "#17", "GH-17"],
)
def test_github_finds_nothing_to_link_in_what_is_left(raw: str) -> None:
    """It searches the rendered text, where entities and backslashes are gone."""
    html = MarkdownIt("gfm-like", {"linkify": False}).render(escape.markdown(raw))
    assert raw not in html and "\u200b" in html


@given(texts)
@example(HOSTILE)
@example("``a`")
def test_a_code_span_holds_all_of_its_text(text: str) -> None:
    html = MarkdownIt("gfm-like", {"linkify": False}).render(f"x {escape.markdown_code(text)} y")
    assert re.fullmatch(r"<p>x (<code>[^<>]*</code>|` +`|``) y</p>\n", html)


@given(texts)
@example(HOSTILE)
def test_a_workflow_command_stays_one_line_with_its_own_properties(text: str) -> None:
    line = f"::error title={escape.workflow_value(text)}::{escape.workflow_data(text)}"
    assert len(line.splitlines()) == 1 and not controls(line)
    head = line.removeprefix("::error title=").partition("::")[0]
    assert "," not in head and ":" not in head
    told = line.removeprefix(f"::error title={head}::")
    assert told.replace("%0A", "\n").replace("%25", "%") == "\n".join(
        escape.visible(one) for one in text.split("\n")
    )


@given(texts)
@example(HOSTILE)
def test_xml_can_hold_it(text: str) -> None:
    element = ElementTree.Element("a", name=escape.xml(text))
    element.text = escape.xml(text)
    again = ElementTree.fromstring(ElementTree.tostring(element, encoding="unicode"))
    assert (again.text or "") == escape.xml(text)


@given(texts)
@example(HOSTILE)
@example('=HYPERLINK("http://evil.example")')
@example("\t=1+1")
def test_a_csv_cell_is_one_line_and_no_formula(text: str) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow(["a", escape.csv_cell(text)])
    assert len(written.getvalue().splitlines()) == 1
    ((_, cell),) = csv.reader([written.getvalue()])
    assert not cell.startswith(("=", "+", "-", "@", "\t"))


def test_numbers_of_a_csv_file_stay_numbers() -> None:
    assert [escape.csv_cell(value) for value in (-1.5, 0, None, True)] == [-1.5, 0, None, True]


@pytest.mark.parametrize("word", ["a b", "it's", "a\nb", "\x1b[31m'\\", "tab\tbed", "ünï", "\x7f"])
def test_a_command_can_be_copied_into_a_shell(word: str) -> None:
    command = escape.shell(["printf", "%s", word])
    assert not controls(command)
    told = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert told.stdout == word.encode()


def test_ordinary_commands_are_quoted_as_ever() -> None:
    words = ["sparsebench", "run", "a b", "--out", "runs/x"]
    assert escape.shell(words) == shlex.join(words)


def test_json_is_ascii_and_no_command_of_the_older_form() -> None:
    text = escape.json_text({HOSTILE: HOSTILE})
    assert text.isascii() and "##[" not in text
    import json

    assert json.loads(text) == {HOSTILE: HOSTILE}
