"""Hints name the command that fits how the suite was installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsebench.models import installing
from sparsebench.models.installing import install_command, typed_here


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({}, "pip install a b"),
        ({"pyvenv.cfg": "home = /usr/bin\n"}, "pip install a b"),
        ({"pyvenv.cfg": "home = /usr/bin\nuv = 0.9.2\n"}, "uv pip install a b"),
        (
            {"pyvenv.cfg": "uv = 0.9.2\n", "uv-receipt.toml": "[tool]\n"},
            "uv tool install sparsebench --with a --with b",
        ),
    ],
)
def test_the_command_fits_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], command: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr(installing, "_checkout", lambda: ("", False))
    assert install_command("a", "b") == command


def test_an_extra_is_quoted_so_that_any_shell_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zsh takes ``sparsebench[wandb]`` for a pattern and stops with "no matches found"."""
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr(installing, "_checkout", lambda: ("", False))
    assert install_command("sparsebench[wandb]") == "pip install 'sparsebench[wandb]'"


def test_a_tool_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`uv tool install` of one extra took the weights away, and that of the weights the extra."""
    (tmp_path / "uv-receipt.toml").write_text(
        """[tool]
        requirements = [
            { name = "sparsebench", directory = "/s" },
            { name = "sparsebench", extras = ["wandb"], directory = "/s" },
            { name = "sparsebench-zoo", directory = "/s/models/zoo" },
            { name = "rich", specifier = ">=14" },
        ]
        """
    )
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr(installing, "_checkout", lambda: ("/s", False))
    kept = "uv tool install /s --with '/s[wandb]' --with /s/models/zoo --with 'rich>=14'"
    assert install_command("sparsebench[mlflow]") == f"{kept} --with '/s[mlflow]'"
    assert install_command("sparsebench-zoo") == kept  # once


@pytest.mark.parametrize(
    ("told", "commands"),
    [
        (None, ("'sparsebench[mlflow]'", "sparsebench-zoo")),
        (
            {"url": "file:///a/x.whl", "archive_info": {}},
            ("'sparsebench[mlflow]'", "sparsebench-zoo"),
        ),
        (
            {"url": "file:///my%20work/s", "dir_info": {}},
            ("'/my work/s[mlflow]'", "'/my work/s/models/zoo'"),
        ),
        (
            {"url": "file:///work/s", "dir_info": {"editable": True}},
            ("-e '/work/s[mlflow]'", "/work/s/models/zoo"),
        ),
    ],
)
def test_the_suite_is_named_by_the_folder_it_was_installed_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, object] | None,
    commands: tuple[str, str],
) -> None:
    """No index need have it: the README installs a checkout."""

    class Installed:
        def read_text(self, name: str) -> str | None:
            return None if told is None else json.dumps(told)

    monkeypatch.setattr(installing, "distribution", lambda name: Installed())
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    for requirement, command in zip(
        ("sparsebench[mlflow]", "sparsebench-zoo"), commands, strict=True
    ):
        assert install_command(requirement) == f"pip install {command}"


def test_commands_of_the_suite_are_those_that_were_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Write one with `sparsebench run`; sparsebench measures."
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    assert typed_here(text) == text
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert typed_here(text) == "Write one with `uv run sparsebench run`; sparsebench measures."
    assert typed_here("  sparsebench run quick") == "  uv run sparsebench run quick"
