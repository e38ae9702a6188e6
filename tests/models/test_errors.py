"""What an unknown name is answered with: near names, all names, or a command that shows them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sparsebench.models.errors import LISTED, UnknownNameError
from tests.bench.conftest import Result, cli  # noqa: F401  (a fixture)

Cli = Callable[..., Result]
MANY = [f"name{number:02}" for number in range(20)]


@pytest.mark.parametrize("kind", LISTED)
def test_the_command_that_shows_all_names_exists(cli: Cli, kind: str) -> None:  # noqa: F811
    assert f"`sparsebench list {kind}s` shows all 20" in str(UnknownNameError(kind, "zz", MANY))
    assert "There is no list" not in cli("list", f"{kind}s").err


def test_of_a_kind_that_no_command_lists_the_names_themselves_are_shown() -> None:
    """The hint was `sparsebench list architectures`, which does not exist."""
    few = str(UnknownNameError("architecture", "zz", MANY))
    assert few.endswith(f"Known: {', '.join(MANY)}.")
    many = str(UnknownNameError("architecture", "zz", [f"name{n:03}" for n in range(900)]))
    assert many.endswith("name010, name011 and 888 more.")
