"""``push``: what a repository holds, and what never leaves the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.bench.present.summaries import write_page, write_summaries
from sparsebench.bench.publish.hub import push_run
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError
from tests.bench.publish.hub_stub import stub_hub
from tests.bench.synthetic import make_run

LINES = ("records.jsonl", "trials.jsonl", "comparisons.jsonl")
MADE = (
    "summary.md", "summary.csv", "report.html", "speedup-accuracy.png", "speedup-accuracy.svg",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("HF_TOKEN", "hf_ours")
    folder = make_run(blocks=2, engines=["torch"]).write(tmp_path / "monday")
    write_summaries(folder)
    write_page(folder)
    (folder.path / "log.txt").write_text("opened a private folder")
    return folder


def test_a_run_is_committed_with_its_card_and_without_its_log(run: RunFolder) -> None:
    with stub_hub() as hub:
        address = push_run(run, "us/results", private=True, endpoint=hub.url)
    assert address.startswith(hub.url)
    (created,) = hub.created
    assert created["type"] == "dataset"
    # The library's word for it changed with its version.
    assert created.get("private") is True or created.get("visibility") == "private"
    assert hub.tokens == {"Bearer hf_ours"}
    assert {path for path in hub.files if path.startswith("runs/")} == {
        f"runs/monday/{name}" for name in (*LINES, *MADE)
    }
    records = (run.path / "records.jsonl").read_bytes()
    assert hub.files["runs/monday/records.jsonl"] == records
    card = hub.files["README.md"].decode()
    assert card.startswith('---\npretty_name: "sparsebench monday"\n')
    assert "Test CPU" in card and "## inference on" in card


def test_a_refusal_is_one_sentence_with_its_fix(run: RunFolder) -> None:
    with stub_hub() as hub:
        hub.refuse = True
        with pytest.raises(SparsebenchError, match="could not be pushed to us/results") as error:
            push_run(run, "us/results", endpoint=hub.url)
    assert "HF_TOKEN" in error.value.fix
    with pytest.raises(SparsebenchError, match="'results' is not OWNER/NAME"):
        push_run(run, "results")


def test_without_a_network_the_run_stays_and_the_error_is_one_sentence(run: RunFolder) -> None:
    with stub_hub() as hub:
        gone = hub.url
    with pytest.raises(SparsebenchError, match="could not be pushed to us/results") as error:
        push_run(run, "us/results", endpoint=gone)
    assert "can be reached" in error.value.fix
