"""The table of the zoo, written from the weights themselves:
``python -m sparsebench.results.scripts.zoo_table``.

``models/zoo/README.md`` is what this writes; a test holds that the two agree.
"""

from __future__ import annotations

from pathlib import Path

from sparsebench.bench.present.table import Table, markdown
from sparsebench.bench.why.inspection import Inspection, inspect_target
from sparsebench.models.cards import Card
from sparsebench.models.sources.shipped import ZOO_FOLDER, card_files, list_in

HEADER = (
    "backbone",
    "family",
    "zeros",
    "multiplications",
    "dead filters",
    "size",
    "epochs",
    "top-1",
    "MB",
)
TABLE = ZOO_FOLDER / "README.md"
HEAD = """# The zoo

Backbones that come with the suite. `NAME.safetensors` holds the weights in the compact sparse
format, `NAME.json` its card, `plans/NAME.toml` how it was trained: `sparsebench sparsify --plan
models/zoo/plans/NAME.toml --data IMAGES --out FILE` does it again. What the accuracy was measured
on and what else there is to know, `sparsebench inspect NAME` tells. All of them at once, each in as
many epochs, `results/scripts/train_zoo.py` trains.

This table is written by `results/scripts/zoo_table.py` from the weights. Zeros are of all
convolution and linear weights; multiplications are the non-zero ones over the dense network's, for
an image of the named size; a dead filter is one with zeros only. Epochs are of all training behind
the weights (50,000 images each; –: not known): a network is compared with the dense one of as many.
"""


def table(folder: Path = ZOO_FOLDER) -> str:
    """Markdown: one row for each shipped backbone, dense first, then from few zeros to many.

    Raises:
        SparsebenchError: a card or its weights are damaged.
    """
    cards = [card for card in list_in(folder) if (folder / _file(card)).exists()]
    rows = [(card, inspect_target(card.name)) for card in cards]
    rows.sort(key=lambda row: (row[0].arch != "resnet18", row[0].sparsity, row[0].name))
    made = Table.of("", HEADER, [_row(card, report, folder) for card, report in rows], words=2)
    return HEAD + "\n".join(markdown(made)) + "\n"


def _file(card: Card) -> str:
    return f"{card.name.replace('/', '-')}.safetensors"


def _row(card: Card, report: Inspection, folder: Path) -> tuple[str, ...]:
    accuracy, ratio = card.upstream_accuracy, report.flops_ratio
    return (
        card.name,
        card.family,
        f"{report.sparsity:.2%}",
        "–" if ratio is None else f"{ratio:.1%}",
        f"{report.dead_filters:.1%}",
        f"{card.preprocessing.size} px",
        "–" if card.budget is None else str(card.budget.epochs),
        "–" if accuracy is None else f"{accuracy:.1%}",
        f"{(folder / _file(card)).stat().st_size / 1e6:.1f}",
    )


def main() -> None:
    """Write the table beside the weights."""
    TABLE.write_text(table(), encoding="utf-8")
    print(f"{TABLE.name}: {len(card_files(ZOO_FOLDER))} cards")


if __name__ == "__main__":
    main()
