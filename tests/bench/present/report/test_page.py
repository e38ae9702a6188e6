"""The HTML page as a parser sees it: whole, self-contained, escaped, accessible."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

import sparsebench.results as results
from sparsebench.bench.present.report import Report, build_report
from sparsebench.bench.present.report.page import html_page
from tests.bench.present.report.conftest import HOSTILE, QUICK, reference_rows, reference_winner
from tests.bench.present.report.synthetic_suite import synthetic_suite

VOID = {"meta", "link", "input", "line", "circle", "img", "br", "wbr"}


class Page(HTMLParser):
    """Elements with their attributes, text, and the text inside each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, list[str]] = {}
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        self.inside.setdefault(tag, []).append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, (tag, self._open[-3:])
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for tag in dict.fromkeys(self._open):
            self.inside[tag][-1] += data
        if not {"script", "style"} & set(self._open):
            self.text += data

    def having(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.elements if name in attrs]


@pytest.fixture(scope="module")
def quick() -> tuple[str, Page]:
    text = html_page(build_report([QUICK]))
    return text, Page(text)


@pytest.fixture(scope="module")
def hostile(hostile_report: Report) -> tuple[str, Page]:
    text = html_page(hostile_report)
    return text, Page(text)


def test_it_opens_with_the_answer(quick: tuple[str, Page]) -> None:
    _, page = quick
    assert page.inside["h1"] == ["Which is fastest within 0.5 points?"]
    opening = page.text[: page.text.index("Every cell")]
    for workload in ("inference", "linear-cached"):
        row, sparse = reference_winner(workload)
        name = f"{row['backbone']} on {row['engine']}"
        if sparse:
            ratio = float(row["speedup_best_dense"])
            assert f"{name}: significantly better, {ratio:.2f}× (" in opening
        else:
            assert f"{name} (dense)" in opening


def test_it_says_everything_else_too(quick: tuple[str, Page]) -> None:
    _, page = quick
    record = json.loads((QUICK / "records.jsonl").read_text().splitlines()[0])
    machine, packages = record["machine"], record["packages"]
    for words in (
        machine["cpu"], machine["fingerprint"], *machine["isa"], packages["scikit-learn"],
        packages["torch"], "evaluation only, not production", "ended June 2025", "not allowed",
        "DeepSparse's licence allows evaluation", record["backbone"]["licence"], 'name = "quick"',
    ):  # fmt: skip
        assert words in page.text, words
    commands = [text for text in page.inside["code"] if text.startswith("sparsebench run ")]
    rows = reference_rows()
    assert len(commands) == len(rows) + 1  # each cell, and the run
    for row in rows:
        words = f"--backbone {row['backbone']} --engine {row['engine']}"
        assert any(words in command for command in commands)


def test_every_ratio_stands_in_a_row_with_its_accuracy_change(quick: tuple[str, Page]) -> None:
    _, page = quick
    rows = [text for text in page.inside["tr"] if "×" in text and "sparsebench run" in text]
    assert len(rows) == sum(float(row["speedup_best_dense"]) != 1 for row in reference_rows())
    for row in rows:
        assert re.search(r"[+−]?\d\.\d\s+±.*×|dense", row, re.DOTALL), row
        assert re.search(r"×\s+\(\d+\.\d+–\d+\.\d+\)", row), row


def test_nothing_is_fetched_and_only_our_scripts_run(quick: tuple[str, Page]) -> None:
    text, page = quick
    assert not page.having("src")
    assert all(href.startswith(("#", "data:,")) for href in page.having("href"))
    assert "@import" not in text and not re.search(r"url\((?!['\"]?data:)[^)]*\)", _css(text))
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split("style-src")[0]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_names_are_text(hostile: tuple[str, Page]) -> None:
    _, page = hostile
    assert page.text.count(HOSTILE) > 40
    assert not [attrs for tag, attrs in page.elements if tag == "img"]
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert "window.pwned=1" not in "".join(
        script
        for (tag, attrs), script in zip(
            [e for e in page.elements if e[0] == "script"], page.inside["script"], strict=True
        )
        if attrs.get("type") != "application/json"
    )
    assert HOSTILE in page.having("value")
    assert HOSTILE in page.having("data-task")
    for words in ("CPU ", "v ", "L ", "S ", "drift ", "failed "):
        assert words + HOSTILE in " ".join(page.text.split()), words


def test_hostile_names_are_data_inside_json(hostile: tuple[str, Page]) -> None:
    text, _ = hostile
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        assert "<" not in block
        assert HOSTILE in json.dumps(json.loads(block), ensure_ascii=False).replace('\\"', '"')


def test_names_never_go_where_bokeh_reads_tex(hostile: tuple[str, Page]) -> None:
    """It would fetch MathJax from the network for a `$$`: only the columns may hold names."""
    text, _ = hostile
    for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text):
        _no_tex(json.loads(block)["doc"], inside_data=False)


def _no_tex(value: object, *, inside_data: bool) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _no_tex(item, inside_data=inside_data or key == "data")
    elif isinstance(value, list):
        for item in value:
            _no_tex(item, inside_data=inside_data)
    elif isinstance(value, str) and not inside_data:
        assert "$$" not in value and HOSTILE not in value


def test_failures_and_discards_have_their_reasons(hostile: tuple[str, Page]) -> None:
    _, page = hostile
    rows = [" ".join(text.split()) for text in page.inside["tr"]]
    assert any(f"failed {HOSTILE}" in row and "resnet50/gmp-80 on torch" in row for row in rows)
    assert any("discarded, measured again" in row and f"drift {HOSTILE}" in row for row in rows)


def test_headings_labels_and_targets_are_in_order(quick: tuple[str, Page]) -> None:
    _, page = quick
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    for target in [href[1:] for href in page.having("href") if href.startswith("#")]:
        assert target in ids
    for name in page.having("aria-labelledby"):
        assert name in ids
    assert dict(page.elements)["html"]["lang"] == "en"
    images = [attrs for _, attrs in page.elements if attrs.get("role") == "img"]
    assert len(images) >= 3 and all(len(attrs["aria-label"]) > 40 for attrs in images)
    assert page.inside["caption"] and all(text.strip() for text in page.inside["caption"])
    sortable = [attrs for tag, attrs in page.elements if tag == "th" and "aria-sort" in attrs]
    assert len(sortable) >= 18


@pytest.mark.parametrize("scheme", [":root {", "dark) {\n  :root {", "print {\n  :root {"])
def test_contrast_is_wcag_aa(scheme: str) -> None:
    css = (files("sparsebench.bench.present.report") / "templates" / "report.css").read_text(
        "utf-8"
    )
    block = css[css.index(scheme) :]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block[: block.index("}")]))
    for text in ("text", "quiet", "accent", "good", "bad"):
        for ground in ("page", "raised"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["text"], colours["warn"]) >= 4.5
    for graphic in ("dense", "sparse", "beyond", "warn-line"):
        assert _contrast(colours[graphic], colours["page"]) >= 3, graphic


def _contrast(one: str, other: str) -> float:
    """WCAG 2.1: relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_200_cells_are_small_and_quick(tmp_path: Path) -> None:
    suite = synthetic_suite()
    assert len(suite.records) == 200
    schema = json.loads((Path(results.__path__[0]) / "schema" / "record.v1.json").read_text())
    run = suite.write(tmp_path / "synthetic-200")
    validator = jsonschema.Draft202012Validator(schema)
    for line in (run / "records.jsonl").read_text().splitlines():
        validator.validate(json.loads(line))
    start = time.process_time()  # of this process: the machine may be busy with others
    text = html_page(build_report([run]))
    assert time.process_time() - start < 20
    assert len(text.encode()) < 5_000_000
    assert Page(text).text.count("resnet50/acdc-90") >= 40


def _css(text: str) -> str:
    return text[text.index("<style>") : text.index("</style>")]
