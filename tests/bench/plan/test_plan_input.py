"""Plans that nobody wrote on purpose: one sentence each, and nothing outside of ``runs/``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsebench.bench.plan.plan import PRESETS, load_plan, preset_names
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result

Cli = Callable[..., Result]
HOSTILE = {
    "a number in a list of names": "backbones = [1]",
    "a table in a list of names": "tasks = [{a = 1}]",
    "a list in a list": 'engines = [["torch"]]',
    "a date": "workloads = [2020-01-01]",
    "an empty name": 'backbones = [""]',
    "text in the seeds": 'seeds = ["a"]',
    "a fraction in the seeds": "seeds = [1.5]",
    "a truth in the seeds": "seeds = [true]",
    "a negative seed": "seeds = [-1]",
    "a negative seed of the order": "order_seed = -1",
    "nan in the seeds": "seeds = [nan]",
    "100,000 digits": f"limit = {'9' * 100_000}",
    "400 digits": f"limit = {'9' * 400}",
    "400 digits in a list": f"seeds = [{'9' * 400}]",
    "400 digits of a fraction": f"lr = {'9' * 400}.0",
    "deep lists": f"tasks = {'[' * 5000}{']' * 5000}",
    "deep tables": "".join(f"[{'.'.join(['a'] * n)}]\n" for n in (2000,)),
    "moderately deep options": f"[engines.torch]\noptions = {{a = {'[' * 200}{']' * 200}}}",
    "a huge size": "size = 1000000000",
    "a huge batch": "batch_size = 1000000000000",
    "an infinite timeout": "call_timeout = inf",
    "no timeout": "call_timeout = nan",
    "a negative timeout": "call_timeout = -5.0",
    "negative seconds": "min_seconds = -0.5",
    "a NUL in the name": 'name = "a\\u0000b"',
    "a line end in the name": 'name = "a\\nb"',
    "an absolute name": 'name = "/tmp/outside"',
    "a climbing name": 'name = "../../outside"',
    "a dot": 'name = ".."',
    "an empty plan name": 'name = ""',
    "a long name": f'name = "{"n" * 300}"',
    "a NUL in a task": 'tasks = ["a\\u0000b"]',
    "a NUL in a backbone": 'backbones = ["resnet18/\\u0000"]',
    "a dense baseline of numbers": "[dense]\na = 1",
    "dense as text": 'dense = "a"',
    "engines of text": '[engines]\ntorch = "fast"',
    "options of text": '[engines.torch]\noptions = "fast"',
    "an interpreter of numbers": "[engines.torch]\npython = 3",
    "workload engines of text": 'workload_engines = "torch"',
    "seeds of text": 'seeds = "123"',
    "negative validation": "validation = -0.1",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_plans_are_one_sentence(
    kind: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p.toml"
    text = HOSTILE[kind]
    given = "" if "backbones" in text else 'backbones = ["resnet18/uniform-90@generated"]\n'
    path.write_text(f"{given}{text}\n")
    told = cli("run", path, "--dry-run")
    assert told.code == 2, told.out
    assert told.err.startswith("Error: ") and len(told.err) < 1500
    assert list(tmp_path.iterdir()) == [path]


def test_lists_whose_product_nobody_can_measure_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    sweep = {"batch_size": [*range(1, 3000)], "size": [*range(32, 1000)]}
    path.write_text(tomli_w.dumps({"backbones": ["resnet18/dense"], **sweep}))
    with pytest.raises(SparsebenchError, match="5,806,064 cells; a run has 100,000 at most"):
        load_plan(str(path))


@pytest.mark.parametrize("name", ["/tmp/x", "../x", "a/b", "..", "", "a\\b", "\x1b[1m", "n" * 200])
def test_no_name_leads_out_of_the_folder_of_runs(name: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(tomli_w.dumps({"name": name}))
    with pytest.raises(SparsebenchError, match="cannot be the name of a plan"):
        load_plan(str(path))


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "large.toml").write_text("#" * (1 << 21))
    (tmp_path / "latin.toml").write_bytes('name = "é"'.encode("latin-1"))
    names = [
        str(tmp_path / name) for name in ("pipe.toml", "zero.toml", "large.toml", "latin.toml")
    ]
    for name in (*names, "a\0b", "a\0b.toml", "n" * 5000, "/" * 9000 + ".toml", str(tmp_path)):
        with pytest.raises(SparsebenchError):
            load_plan(name)


leaves = (
    st.integers() | st.floats() | st.booleans() | st.text(max_size=8) | st.dates()
    | st.integers(-(10**30), 10**30)
)  # fmt: skip
tables = st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(tables, inner, max_size=3),
    max_leaves=6,
)
keys = {"name", "tasks", "dense", "limit", "order_seed", "call_timeout", "size"}
for preset in preset_names():
    keys |= set(tomllib.loads((PRESETS / f"{preset}.toml").read_text()))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(sorted(keys)) | st.text(max_size=6), values, max_size=4))
def test_neighbours_of_plans_load_or_are_refused(tmp_path: Path, data: dict[str, object]) -> None:
    path = tmp_path / "p.toml"
    try:
        path.write_text(tomli_w.dumps(data))
    except (ValueError, TypeError, UnicodeEncodeError):
        return
    try:
        plan = load_plan(str(path))
        assert "/" not in plan.name
    except SparsebenchError:
        pass


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changed_bytes_of_a_preset_load_or_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray((PRESETS / "quick.toml").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path = tmp_path / "p.toml"
    path.write_bytes(raw)
    try:
        load_plan(str(path))
    except SparsebenchError:
        pass


def test_a_key_is_quoted_once(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("description = 1979-05-27\n", encoding="utf-8")
    with pytest.raises(SparsebenchError, match=r"p.toml: 'description' holds a date"):
        load_plan(str(tmp_path / "p.toml"))


def test_of_an_unknown_key_the_known_ones_are_named(tmp_path: Path) -> None:
    """The hint was a command that does not exist: `sparsebench list key of a plan (p.toml)s`."""
    (tmp_path / "p.toml").write_text("zzz = 1\n", encoding="utf-8")
    with pytest.raises(SparsebenchError, match="Known: .*backbones.*workloads") as error:
        load_plan(str(tmp_path / "p.toml"))
    assert "sparsebench list" not in str(error.value)
