"""Every TOML file that a command reads ends in one sentence where it is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsebench.bench.gate.baseline import read_baseline
from sparsebench.bench.plan.plan import load_plan
from sparsebench.bench.plan.sections import section_options
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.plans import read_plan

BAD = {
    "a number of too many digits": b"epochs = " + b"9" * 100_000,
    "nested too deeply": b"a = " + b"[" * 5_000 + b"]" * 5_000,
    "not UTF-8": b"a = '\xff\xfe'",
    "larger than 1 MiB": b"#" * (1 << 20) + b"#",
    "not valid TOML": b"a = = 3",
}


@pytest.mark.parametrize("said", BAD)
@pytest.mark.parametrize("read", [lambda path: load_plan(str(path)), read_plan, read_baseline])
def test_a_file_that_is_none_is_one_sentence(
    read: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.toml"
    path.write_bytes(BAD[said])
    with pytest.raises(SparsebenchError, match=said):
        read(path)


@pytest.mark.parametrize("text", ["9" * 5_000, "[" * 5_000])
def test_an_option_that_is_no_toml_is_a_word(text: str) -> None:
    assert section_options([f"full.epochs={text}"]) == {"full": {"epochs": text}}
