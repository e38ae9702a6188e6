"""Two runs on one machine: who works when."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from sparsebench.bench.clock.alternation import FIRST, SECOND, TURNS, Turns
from sparsebench.models.errors import SparsebenchError

Story = Callable[[Turns, Callable[[str], None]], None]


def together(first: Story, second: Story) -> list[str]:
    """What two runs did, in the order in which they did it."""
    did: list[str] = []
    to_second, to_first = os.pipe(), os.pipe()
    one = Turns(FIRST, to_first[0], to_second[1])
    two = Turns(SECOND, to_second[0], to_first[1])

    def live(turns: Turns, story: Story, name: str) -> None:
        turns.start()
        story(turns, lambda what: did.append(f"{name}{what}"))
        turns._alone()  # the process ends

    threads = [
        threading.Thread(target=live, args=args, daemon=True)
        for args in ((one, first, "a"), (two, second, "b"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive(), f"both wait: {did}"
    return did


def blocks(*visits: int, setup: bool = False) -> Story:
    """A run with so many visits in its blocks."""

    def story(turns: Turns, did: Callable[[str], None]) -> None:
        for count in visits:
            if setup:
                did(" sets up")
            turns.begin()
            for visit in range(count):
                turns.pass_on()
                did(str(visit + 1))
            turns.end()
            if setup:
                did(" tidies")

    return story


def test_the_sides_alternate_as_abba() -> None:
    assert together(blocks(4), blocks(4)) == ["b1", "a1", "a2", "b2", "b3", "a3", "a4", "b4"]
    assert together(blocks(2), blocks(2)) == ["b1", "a1", "a2", "b2"]


def test_the_lead_changes_with_the_block_also_where_visits_are_odd() -> None:
    assert together(blocks(2, 2), blocks(2, 2)) == words("b1 a1 a2 b2", "a1 b1 b2 a2")
    assert together(blocks(1, 1, 1), blocks(1, 1, 1)) == words("b1 a1", "a1 b1", "b1 a1")
    did = together(blocks(3, 3), blocks(3, 3))
    assert did == words("b1 a1 a2 b2 b3 a3", "a1 b1 b2 a2 a3 b3")


def words(*blocks: str) -> list[str]:
    return " ".join(blocks).split()


def test_all_is_set_up_before_the_first_visit_and_tidied_after_the_last() -> None:
    did = together(blocks(2, 2, setup=True), blocks(2, 2, setup=True))
    first = ["a sets up", "b sets up", "b1", "a1", "a2", "b2"]
    second = ["b tidies", "b sets up", "a tidies", "a sets up", "a1", "b1", "b2", "a2"]
    assert did == [*first, *second, "a tidies", "b tidies"]


@pytest.mark.parametrize(
    ("first", "second"),
    [((4, 4), (4,)), ((4,), (4, 4)), ((2, 4), (4, 2)), ((1, 3, 2), (2, 2, 1)), ((), (3,))],
)
def test_runs_that_differ_end_both(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Cells that fail on one side, or blocks that only one has, leave nobody waiting."""
    did = together(blocks(*first), blocks(*second))
    assert did.count("a1") == len(first) and did.count("b1") == len(second)
    assert len(did) == sum(first) + sum(second)


def test_a_run_of_its_own_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TURNS, raising=False)
    did: list[str] = []
    turns = Turns.from_environment()
    turns.start()
    blocks(2, 2)(turns, did.append)
    assert did == ["1", "2", "1", "2"] and not turns.shared


def test_the_ends_are_handed_over_once_and_to_no_grandchild() -> None:
    read, write = os.pipe()
    try:
        os.set_inheritable(read, True)
        environment = {TURNS: f"second:{read}:{write}"}
        turns = Turns.from_environment(environment)
        assert turns.shared and not environment and not os.get_inheritable(read)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("text", ["garbage", "first:x:y", "first:999999:999998"])
def test_a_variable_that_names_no_pipes_is_explained(text: str) -> None:
    with pytest.raises(SparsebenchError, match="unset it"):
        Turns.from_environment({TURNS: text})
