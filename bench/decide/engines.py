"""What an engine's licence allows, without importing its library."""

from __future__ import annotations

from dataclasses import dataclass

from sparsebench.exporters.worker.launch import ENGINES, engine


@dataclass(frozen=True)
class EngineFacts:
    """What a deployer must know of an engine.

    Attributes:
        licence: in a few words; empty where the engine does not say.
        support: whether it is maintained, in a few words; empty where it does not say.
        production: whether the licence allows production; None where it does not say.
    """

    licence: str = ""
    support: str = ""
    production: bool | None = None


def engine_facts(name: str) -> EngineFacts:
    """Facts of a registered engine; nothing is known of one that is not registered here."""
    if name not in ENGINES:
        return EngineFacts()
    found = engine(name)
    return EngineFacts(
        licence=str(getattr(found, "licence", "")),
        support=str(getattr(found, "support", "")),
        production=getattr(found, "production", None),
    )
