"""What a plan writes for an engine: ``torch``, ``torch:bf16``, ``torch:bf16?``.

A precision behind a colon is that engine's own, so that a run can hold several; a question mark
leaves the entry out where the processor would only emulate it, or the engine has nothing for it
(``bench.plan.optional_engines``).
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsebench.models.errors import UnknownNameError

TWO_OF_FOUR = "2:4"
"""bf16, and layers with two zeros in every four inputs on a GPU's sparse tensor cores."""
PRECISIONS = ("fp32", "bf16", "int8", TWO_OF_FOUR)


@dataclass(frozen=True)
class EngineEntry:
    """One entry, taken apart.

    Attributes:
        name: of the engine.
        precision: its own, None for the plan's.
        optional: whether it is left out where the processor lacks its precision.
    """

    name: str
    precision: str | None = None
    optional: bool = False

    @classmethod
    def parse(cls, text: str) -> EngineEntry:
        """Take an entry apart.

        Raises:
            UnknownNameError: a precision that does not exist.
        """
        bare = text.removesuffix("?")
        name, colon, precision = bare.partition(":")
        if colon and precision not in PRECISIONS:
            raise UnknownNameError(f"precision of engine {name}", precision, PRECISIONS)
        return cls(name, precision if colon else None, bare != text)

    def __str__(self) -> str:
        """The entry without its question mark: what ``--engine`` takes."""
        return self.name if self.precision is None else f"{self.name}:{self.precision}"

    def resolved(self, precision: str) -> tuple[str, str]:
        """Name and precision, in a plan of that precision."""
        return self.name, self.precision or precision
