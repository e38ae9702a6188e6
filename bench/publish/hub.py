"""A run as a data set repository of the Hugging Face hub: records, report, and a card."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.publish.shareable import shareable
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import install_command

SENT = (
    "records.jsonl", "trials.jsonl", "comparisons.jsonl", "blocks.jsonl", "plan.toml",
    "summary.md", "summary.csv", "report.html", "speedup-accuracy.png", "speedup-accuracy.svg",
)  # fmt: skip
"""Of a run's folder: no image, no weight, no log."""
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def push_run(
    folder: RunFolder, repository: str, *, private: bool = False, endpoint: str | None = None
) -> str:
    """Create the repository where it is not there, and commit the run into a folder of it.

    The repository's card is that of the run that was pushed last.

    Args:
        folder: the run.
        repository: ``OWNER/NAME``.
        private: whether a new repository is private.
        endpoint: of the hub (default: huggingface_hub's, ``HF_ENDPOINT``).

    Returns:
        The address of the commit.

    Raises:
        SparsebenchError: the library is not installed, the name is none, or the hub refuses
            or cannot be reached.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise SparsebenchError(
            "The library huggingface_hub is not installed.",
            f"Install it: {install_command('huggingface_hub')}",
        ) from error
    if not NAME.fullmatch(repository):
        raise SparsebenchError(f"'{repository}' is not OWNER/NAME.")
    hub = HfApi(endpoint=endpoint)
    try:
        hub.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as made, shareable(folder) as run:
            lay_out(run, Path(made))
            commit = hub.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=made,
                commit_message=f"sparsebench run {folder.name}",
            )
    except Exception as error:  # its HTTP library, whose errors these are, changes with its version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SparsebenchError(
            f"The run could not be pushed to {repository}: {reason}",
            "Log in with `hf auth login` or set HF_TOKEN, and check that the hub can be reached "
            "and that you may write there.",
        ) from error
    return str(commit.commit_url)


def lay_out(folder: RunFolder, target: Path) -> None:
    """What a repository holds: the card, and the run's files in a folder of its name."""
    runs = target / "runs" / folder.name
    runs.mkdir(parents=True)
    for name in SENT:
        if (folder.path / name).is_file():
            shutil.copyfile(folder.path / name, runs / name)
    (target / "README.md").write_text(card_of(folder), encoding="utf-8")


def card_of(folder: RunFolder) -> str:
    """The card: what a data set viewer needs, the machine, the tables, how to read it back."""
    machines = {describe_machine(one.machine): None for one in folder.records()}
    summary = folder.path / "summary.md"
    text = summary.read_text(encoding="utf-8") if summary.is_file() else ""
    return "\n".join(
        [
            "---",
            f"pretty_name: {_quoted(f'sparsebench {folder.name}')}",
            "tags: [sparsebench, benchmark, sparsity, pruning]",
            "configs:",
            "  - config_name: records",
            "    data_files: runs/*/summary.csv",
            "---",
            "",
            f"Measured with sparsebench on {'; '.join(machines) or 'an unknown machine'}. Times of "
            "two machines are never compared; speed-ups are against the dense baseline of the same "
            "run, and each has its accuracy change.",
            "",
            f"`sparsebench report runs/{folder.name}` makes the report again; `report.html` is in "
            "the same folder.",
            "",
            text,
        ]
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
