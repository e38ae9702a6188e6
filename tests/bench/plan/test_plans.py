"""Plans: every key is checked, every mistake is one sentence with the nearest name."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from sparsebench.bench.plan.cells import expand, launches, with_partners
from sparsebench.bench.plan.plan import (
    Plan,
    load_plan,
    plan_from_dict,
    plan_to_toml,
    preset_names,
    validate,
)
from sparsebench.bench.plan.sections import notice, section_options
from sparsebench.bench.plan.settings import TrainingSettings
from sparsebench.bench.plan.validation import check
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError, UnknownNameError

REFERENCE = Path(__file__).parents[3] / "results" / "reference"
PLAN = Plan(backbones=("efficientnet_lite0/magnitude-50",), engines=("onnxruntime",))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_plan_with_cells(name: str) -> None:
    plan = load_plan(name)
    assert plan.description
    assert expand(plan)


def test_a_resolved_plan_reads_back_as_itself(tmp_path: Path) -> None:
    data = {
        "name": "mine",
        "backbones": ["resnet18/uniform-90@generated"],
        "tasks": ['/data/a "quoted" \\ folder'],
        "engines": {"deepsparse": {"python": "/opt/py"}, "torch": {"options": {"layout": "auto"}}},
        "dense": {"resnet18/uniform-90@generated": "resnet18/dense@generated"},
    }
    plan = plan_from_dict(data, "test")
    assert plan.engines == ("deepsparse", "torch")
    assert plan.engine_settings["deepsparse"].python == "/opt/py"
    path = tmp_path / "mine.toml"
    path.write_text(plan_to_toml(plan))
    assert load_plan(str(path)) == plan


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('backbone = ["resnet18/dense"]', "Did you mean 'backbones'"),
        ("batch_size = 0", "must be 1 or more"),
        ('batch_size = "64"', "must be a whole number"),
        ("strict = 1", "must be true or false"),
        ("repeats = true", "must be a whole number"),
        ('backbones = "resnet18/dense"', "must be a list"),
        ('precision = "fp23"', "Did you mean 'fp32'"),
        ('solver = "sdg"', "Did you mean 'sgd'"),
        ("threads = 100000", "would time the scheduler"),
        ("seeds = [1, 1]", "different numbers"),
        ("lr = inf", "finite"),
        ("lr = nan", "finite"),
        ("weight_decays = [inf]", "numbers from 0"),
        ("[engines.deepsparse]\npyton = '/x'", "Did you mean 'python'"),
        ("batch_size = = 3", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_plan_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text + "\n")
    with pytest.raises(SparsebenchError) as error:
        load_plan(str(path))
    assert words in str(error.value)
    assert "\n" not in error.value.cause.strip() or "TOML" in error.value.cause


def test_an_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'quick'"):
        load_plan("quik")
    with pytest.raises(SparsebenchError, match="no plan file"):
        load_plan("missing.toml")


def test_options_change_a_plan_and_absent_ones_do_not() -> None:
    changed = PLAN.with_changes(repeats=7, engines=(), threads=None, data_dir="")
    assert changed.repeats == 7
    assert changed.engines == PLAN.engines
    with pytest.raises(SparsebenchError):
        PLAN.with_changes(threads=usable_cpus() + 1)


def test_the_dense_partner_is_always_part_of_the_plan() -> None:
    assert with_partners(PLAN) == {
        "efficientnet_lite0/dense": "efficientnet_lite0/dense",
        "efficientnet_lite0/magnitude-50": "efficientnet_lite0/dense",
    }
    other = Plan(
        backbones=("resnet18/uniform-90@generated",),
        dense={"resnet18/uniform-90@generated": "resnet18/dense@generated"},
    )
    assert next(iter(with_partners(other))) == "resnet18/dense@generated"


def test_cells_differ_in_identity_exactly_when_a_setting_differs() -> None:
    cells = expand(PLAN)
    assert len(cells) == 2 * 1 * 2  # dense and sparse, one engine, two workloads
    assert len({cell.id for cell in cells}) == len(cells)
    assert [cell.id for cell in expand(PLAN)] == [cell.id for cell in cells]
    for change in ({"batch_size": 32}, {"seeds": (1,)}, {"epochs": 3}, {"size": 96}):
        changed = expand(PLAN.with_changes(**change))
        assert not {cell.id for cell in changed} & {cell.id for cell in cells}
    # More repeats are more of the same cells, so that a run can be prolonged.
    assert [cell.id for cell in expand(PLAN.with_changes(repeats=9))] == [c.id for c in cells]


def test_cells_to_be_compared_are_launched_together_unless_there_are_too_many() -> None:
    plan = validate(
        Plan(
            backbones=("resnet18/uniform-90@generated", "efficientnet_lite0/magnitude-50"),
            engines=("onnxruntime", "torch"),
        )
    )
    cells = expand(plan)
    together = list(launches(cells, lambda cell: 4))
    assert [len({c.backbone.split("/")[0] for c in group}) for group in together] == [1, 1]
    apart = list(launches(cells, lambda cell: 3))
    assert all(len({cell.engine for cell in group}) == 1 for group in apart)
    assert sorted(c.id for group in apart for c in group) == sorted(c.id for c in cells)


def test_an_engine_may_bring_its_own_precision_and_a_workload_its_own_engines() -> None:
    plan = plan_from_dict(
        {
            "backbones": ["resnet18/uniform-90@generated"],
            "engines": ["deepsparse", "torch"],
            "workloads": ["inference", "full"],
            "workload_engines": {"full": ["torch", "torch:bf16", "native"]},
        },
        "a test",
    )
    cells = expand(plan)
    found = {(c.workload, c.engine, c.precision) for c in cells}
    assert found == {
        ("inference", "deepsparse", "fp32"),
        ("inference", "torch", "fp32"),
        ("full", "torch", "fp32"),
        ("full", "torch", "bf16"),
        ("full", "native", "fp32"),
    }
    assert len({cell.id for cell in cells}) == len(cells) == 2 * 5
    # one group: a ratio between precisions needs blocks that both are in
    assert len(list(launches(cells, lambda cell: 99))) == 1
    again = plan_from_dict(tomllib.loads(plan_to_toml(plan)), "the same")
    assert again == plan


def test_the_plans_precision_is_that_of_an_engine_without_one() -> None:
    plan = PLAN.with_changes(engines=("torch", "torch:bf16"), precision="bf16")
    assert {(c.engine, c.precision) for c in expand(plan)} == {("torch", "bf16")}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("engines", ["torch:fp23"], "fp32"),
        ("workload_engines", ["torch"], "table"),
        ("workload_engines", {"full": []}, "list"),
        ("workload_engines", {"full": "torch"}, "list"),
        ("workload_engines", {"fulll": ["torch"]}, "full"),
        ("workload_engines", {"full": ["torhc"]}, "torch"),
        ("workload_engines", {"full": ["deepsparse"]}, "--engine torch"),
    ],
)
def test_a_wrong_engine_of_a_workload_is_named(key: str, value: object, says: str) -> None:
    with pytest.raises(SparsebenchError) as caught:
        plan = plan_from_dict(
            {"backbones": ["resnet18/dense"], "workloads": ["full"], key: value}, "a test"
        )
        check(plan)
        expand(plan)
    assert says in str(caught.value)


def test_toml_is_valid_for_every_preset() -> None:
    for name in preset_names():
        tomllib.loads(plan_to_toml(load_plan(name)))


SECTIONED = """
backbones = ["resnet18/dense"]
workloads = ["inference", "linear-cached", "linear-online", "full"]
engines = ["torch"]
[inference]
min_seconds = 0.5
epochs = 7
[linear-cached]
epochs = 7
prepared = true
[linear-online]
recipe = "short"
epochs = 2
[full]
recipe = "short"
epochs = 2
engines = ["torch", "torch:bf16"]
"""
FLAT = """
backbones = ["resnet18/dense"]
workloads = ["inference", "linear-cached", "linear-online", "full"]
engines = ["torch"]
min_seconds = 0.5
epochs = 7
prepared = true
recipe = "short"
train_epochs = 2
[workload_engines]
full = ["torch", "torch:bf16"]
"""


def test_sections_mean_what_flat_keys_did_and_flat_keys_are_told_once(tmp_path: Path) -> None:
    plans = []
    for text in (SECTIONED, FLAT):
        (tmp_path / "plan.toml").write_text(text)
        plans.append(load_plan(str(tmp_path / "plan.toml")))
    new, old = plans
    assert new == old
    assert [cell.id for cell in expand(new)] == [cell.id for cell in expand(old)]
    assert notice(new) == ""
    assert "\n" not in notice(old)
    for words in ("epochs is inference.epochs, linear-cached.epochs", "train_epochs is"):
        assert words in notice(old)
    again = plan_from_dict(tomllib.loads(plan_to_toml(old)), "the same")
    assert again == old
    assert notice(again) == ""  # a resolved plan is written with sections


def test_a_section_is_changed_key_by_key_from_the_command_line() -> None:
    given = section_options(["full.epochs=3", "full.recipe=short", "linear-cached.prepared=true"])
    assert given == {"full": {"epochs": 3, "recipe": "short"}, "linear-cached": {"prepared": True}}
    plan = PLAN.with_changes(train_epochs=9, lr=0.5).with_changes(sections=given)
    assert plan.section("full", TrainingSettings).epochs == 3
    assert plan.section("full", TrainingSettings).lr == 0.5
    assert plan.section("linear-online", TrainingSettings).epochs == 9
    with pytest.raises(SparsebenchError, match=r"not WORKLOAD\.KEY=VALUE"):
        section_options(["epochs=3"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fulll]\nepochs = 1", "Did you mean 'full'"),
        ("[full]\nepoch = 1", "Did you mean 'epochs'"),
        ("[full]\nepochs = true", "must be a whole number"),
        ("[full]\nepochs = -1", "must be 0 or more"),
        ("[full]\ntune = 'onn'", "Did you mean 'on'"),
        ("[full]\nengines = 'torch'", "list of engines"),
        ("[inference]\nrecipe = 'short'", "named 'recipe'"),
        ("[inference]\nmin_seconds = -1", "must be 0 or more"),
        ("full = 3", "must be a section"),
        ("flat = ['x']", "no key"),
    ],
)
def test_a_mistake_in_a_section_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text + "\n")
    with pytest.raises(SparsebenchError) as error:
        load_plan(str(tmp_path / "bad.toml"))
    assert words in str(error.value)


@pytest.mark.parametrize("path", sorted(REFERENCE.rglob("plan.toml")), ids=lambda p: p.parent.name)
def test_older_runs_plans_are_read_and_name_the_cells_that_were_recorded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsebench.bench.plan.plan.usable_cpus", lambda: 2)
    monkeypatch.setattr("sparsebench.bench.plan.cells.usable_cpus", lambda: 2)
    # Entries with a question mark are asked for: their machines had the instructions.
    monkeypatch.setattr("sparsebench.bench.plan.optional_engines._why_not", lambda *asked: "")
    plan = load_plan(str(path))
    assert load_text(plan_to_toml(plan)) == plan
    plan = with_its_baselines(plan, path.parent)
    recorded = {
        (r["workload"], r["backbone"]["name"], r["engine"]["name"], r["engine"]["precision"])
        for r in map(json.loads, (path.parent / "records.jsonl").read_text().splitlines())
    }
    planned = {(c.workload, c.backbone, c.engine, c.precision) for c in expand(plan)}
    assert recorded <= planned


def test_identities_of_the_reference_runs_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsebench.bench.plan.cells.usable_cpus", lambda: 2)
    for name in ("quick", "full-families", "linear-flowers", "three-ways"):
        folder = REFERENCE / "amd-epyc-2cpu" / name
        plan = with_its_baselines(load_plan(str(folder / "plan.toml")), folder)
        ids = {cell.id for cell in expand(plan)}
        lines = (folder / "records.jsonl").read_text().splitlines()
        assert {json.loads(line)["id"] for line in lines} <= ids


def with_its_baselines(plan: Plan, folder: Path) -> Plan:
    """The plan with the dense baselines of its time: the zoo's cards name some others since."""
    lines = (folder / "records.jsonl").read_text().splitlines()
    backbones = [json.loads(line)["backbone"] for line in lines]
    told = {b["name"]: b.get("dense_partner") or f"{b['arch']}/dense" for b in backbones}
    sparse = {b["name"] for b in backbones if b["method"] != "dense" and "@" not in b["name"]}
    return plan.with_changes(dense={**{n: told[n] for n in sparse}, **plan.dense})


def load_text(text: str) -> Plan:
    return plan_from_dict(tomllib.loads(text), "a test")
