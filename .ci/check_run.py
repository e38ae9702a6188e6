"""Check a run's folder from outside: schemas, accuracy beside every speed-up, the image."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import jsonschema

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "plan.toml",
    "log.txt",
    "summary.md",
    "summary.csv",
    "speedup-accuracy.png",
    "speedup-accuracy.svg",
)


def lines(path: Path) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(folder: Path) -> None:
    """Fail with an assertion when the folder is not what the design promises."""
    for kind in ("trial", "record", "comparison"):
        schema = json.loads((ROOT / f"results/schema/{kind}.v1.json").read_text())
        found = lines(folder / f"{kind}s.jsonl")
        assert found, f"no {kind}s"
        for line in found:
            jsonschema.validate(line, schema)
        print(f"{len(found)} {kind}s valid")
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
    failed = [r for r in lines(folder / "records.jsonl") if r["status"] != "ok"]
    assert not failed, [(r["backbone"]["name"], r["engine"]["name"], r["reason"]) for r in failed]
    for item in lines(folder / "comparisons.jsonl"):
        assert item["accuracy_delta"] and item["accuracy_delta"]["ci95"], item["sparse"]
        effects = item["effects"]
        product = effects["engine"] * effects["sparsity"] * effects["precision"]
        assert math.isclose(product, item["total"]["median"], rel_tol=1e-6), item["sparse"]
        low, high = item["speedup"]["ci95"]
        assert low <= item["speedup"]["median"] <= high, item["sparse"]
    print("every comparison has its accuracy change; effects multiply to the total")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
