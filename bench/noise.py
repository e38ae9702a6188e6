"""The noise floor of a machine: what two equal processes differ by, stored by fingerprint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from exporters.cache import cache_dir
from models.errors import SparsebenchError


@dataclass(frozen=True)
class MachineNoise:
    """A/A noise of one machine.

    Args:
        fingerprint: of the machine.
        log_sd: standard deviation of the log-ratio of two equal cells in one block.
        blocks: that it was measured with.
        engine: that it was measured with.
        created: ISO 8601, UTC.
    """

    fingerprint: str
    log_sd: float
    blocks: int
    engine: str
    created: str


def stored_noise(fingerprint: str) -> MachineNoise | None:
    """What was last measured on a machine of this fingerprint; None where nothing was."""
    path = _path(fingerprint)
    try:
        return MachineNoise(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise SparsebenchError(
            f"{path} cannot be read: {error}.", "Delete it and measure again: `sparsebench noise`."
        ) from error


def store_noise(noise: MachineNoise) -> Path:
    """Keep a machine's noise for the gate."""
    path = _path(noise.fingerprint)
    path.write_text(json.dumps(asdict(noise), indent=1) + "\n", encoding="utf-8")
    return path


def _path(fingerprint: str) -> Path:
    return cache_dir("noise") / f"{fingerprint}.json"
