from __future__ import annotations

import json
from pathlib import Path

from sparsebench.models.sources.shipped import ZOO_FOLDER
from sparsebench.results.scripts.zoo_table import TABLE, table


def _rows(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ") and "/" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].replace("\\", ""): row[1:] for row in cells}


def test_the_committed_table_is_what_the_weights_say() -> None:
    assert table() == TABLE.read_text(encoding="utf-8"), (
        "run `python -m sparsebench.results.scripts.zoo_table`"
    )


def test_the_table_names_every_weight_file_with_its_cards_accuracy() -> None:
    rows = _rows(TABLE.read_text(encoding="utf-8"))
    cards = [json.loads(path.read_text()) for path in ZOO_FOLDER.glob("*.json")]
    ours = {card["name"]: card for card in cards if "package" not in card["weights"]}
    assert rows.keys() == ours.keys()
    for name, row in rows.items():
        assert row[6] == f"{ours[name]['upstream_accuracy']:.1%}"
        asked = Path(name).name.rpartition("-")[2]
        assert "/dense" in name or abs(float(row[1].rstrip("%")) - float(asked)) <= 0.1


def test_every_shipped_network_has_the_plan_that_made_it() -> None:
    plans = {path.stem for path in (ZOO_FOLDER / "plans").glob("*.toml")}
    assert {path.stem for path in ZOO_FOLDER.glob("*.safetensors")} <= plans


def test_all_weights_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in ZOO_FOLDER.glob("*.safetensors")) < 100e6
