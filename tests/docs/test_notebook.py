"""The notebook of the documentation runs, and prints what stands in it."""

from __future__ import annotations

import contextlib
import io
import json

import pytest

from tests.docs.commands import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_its_cells_print_what_stands_below_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    written = [cell for cell in cells if cell["cell_type"] == "code"]
    assert written
    for number, cell in enumerate(written, 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        (output,) = cell["outputs"]
        assert printed.getvalue() == "".join(output["text"]), number
        assert cell["execution_count"] == number
