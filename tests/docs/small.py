"""How a command of a page is made small enough to run in a test: one table.

The command that runs is the page's own: the same command, the same operands, every option that the
page writes. A rule may only

- put a smaller value behind an option (`less`; an option that the page leaves out is added),
- add options that the page leaves out (`other`), such as a small network and one engine,
- say what must be there (`needs`): see the fixtures of the same names in `conftest.py`.

`--dry-run` and `doctor --machine` stay as they are where a page writes them, and are never added.
Weights come with the package or are made by the fixtures, so nothing is left out for want of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Small:
    """A rule.

    Attributes:
        words: what the command holds: its name, and what tells it from others of the name.
        less: small values of options, written by the page or not.
        other: words added where the page lacks the option.
        needs: fixtures.
        codes: exit codes that are right answers.
    """

    words: tuple[str, ...]
    less: Mapping[str, object] = field(default_factory=dict)
    other: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)

    def fits(self, words: Sequence[str]) -> bool:
        """Whether the command is meant: its first word, and the others anywhere."""
        return words[0] == self.words[0] and set(self.words) <= set(words)

    def applied(self, words: Sequence[str]) -> list[str]:
        """The command that runs."""
        made = list(words)
        for option, value in self.less.items():
            if option in made:
                made[made.index(option) + 1] = str(value)
            else:
                made += [option, str(value)]
        for option, more in self.other.items():
            if option not in words:
                made += [option, *more.split()]
        return made

    def applied_without_out(self, words: Sequence[str]) -> list[str]:
        """The same without the folder or file that it writes."""
        made = self.applied(words)
        if "--out" in made:
            at = made.index("--out")
            del made[at : at + 2]
        return made


RUN = {
    "--size": 32,
    "--limit": 40,
    "--batch-size": 8,
    "--threads": 1,
    "--epochs": 1,
    "--seed": 1,
    "--repeats": 1,
}
ONNX = "onnxruntime"
OWN_NETWORK = {"--backbone": "my.onnx --dense my.onnx=dense.onnx", "--engine": ONNX}
BRIEF = {"--set": "inference.min_seconds=0.01"}
ONE_WORKLOAD = {"--engine": ONNX, "--workload": "inference", **BRIEF}
LITTLE = {"--size": 32, "--batch-size": 2, "--threads": 1}
NOISE = {"--blocks": 3, "--batch-size": 2, "--threads": 1, "--min-seconds": 0.01}
# "It is slower" and "nothing fits" are answers too; 4: a run that short shows little.
JUDGED = (0, 1, 4)

# The first that fits.
RULES = (
    Small(("run", "--help")),
    Small(("run", "--dry-run")),
    Small(("run", "--budget"), {**RUN, "--repeats": 2, "--budget": 1}, OWN_NETWORK),
    Small(
        ("run", "--processes"),
        {**RUN, "--threads": 2, "--train-epochs": 1, "--tune": "off"},
    ),
    Small(
        ("run", "full", "boxes/"),
        {**RUN, "--size": 64, "--limit": 24, "--train-epochs": 1, "--tune": "off"},
        {"--backbone": "resnet18/gmp_uniform-90"},
    ),
    Small(("run", "full"), {**RUN, "--train-epochs": 1, "--tune": "off"}, {"--engine": "torch"}),
    Small(("run", "linear-online"), {**RUN, "--train-epochs": 1}, OWN_NETWORK),
    # The other two workloads of the plan have a command of their own on the same pages.
    Small(
        ("run", "finetune"),
        {**RUN, "--train-epochs": 1},
        {**OWN_NETWORK, "--workload": "linear-cached --workload linear-online"},
    ),
    Small(
        ("run", "boxes/"),
        {**RUN, "--size": 64, "--limit": 24},
        {
            "--engine": ONNX, "--backbone": "resnet18/gmp_uniform-90", "--dense-engine": ONNX,
            **BRIEF,
        },
    ),
    Small(("run", "--ray"), RUN, ONE_WORKLOAD, needs=("ray",)),
    Small(("run", "my.onnx"), RUN),
    Small(("run", "--backbone"), RUN, ONE_WORKLOAD),
    Small(("run", "my-plan.toml"), RUN, ONE_WORKLOAD),
    Small(("run",), RUN, OWN_NETWORK),
    Small(
        ("sparsify",), {"--epochs": 2, "--size": 32, "--batch-size": 8}, {"--device": "cpu"},
        needs=("own_cache",),
    ),
    Small(("inspect", "--why"), LITTLE, needs=("short_why",)),
    Small(("export",), {"--size": 32}),
    Small(("noise",), NOISE, needs=("own_cache",)),
    Small(("engines", "install"), needs=("package_index",)),
    Small(
        ("check", "--base-engine"), {"--blocks": 3},
        {"--plan": "engines.toml", "--run-options": "--batch-size=4"},
        needs=("package_index",), codes=JUDGED,
    ),
    Small(
        ("check", "--base"), {"--blocks": 3, "--run-options": "--engine onnxruntime"},
        needs=("branches",), codes=JUDGED,
    ),
    Small(("advise",), codes=JUDGED),
    Small(("cache",), needs=("own_cache",)),  # what it clears may be in use elsewhere
    Small(("push",), needs=("hub",)),
    Small(("plot", "my-first", "batch-size"), codes=(3,)),  # which was measured at one alone
)  # fmt: skip


def rule_of(words: Sequence[str]) -> Small:
    """The rule of a command; commands without one run as they are."""
    return next((rule for rule in RULES if rule.fits(words)), Small((words[0],)))
