"""What cached features are known by: everything their values depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import PIL

from sparsebench.models.cards import Preprocessing

# Bump when decoding, resizing or normalising changes what the network sees.
DECODING = 1


@dataclass(frozen=True)
class FeatureKey:
    """Content that determines features; equal keys mean interchangeable features.

    Attributes:
        weights_sha256: of the backbone's weights.
        mask_sha256: of its mask.
        preprocessing: what images go through, the input's size included.
        task_sha256: of the task's content.
        split: ``train`` or ``test``.
        engine: name of the engine.
        engine_version: of its library.
        precision: ``fp32``, ``bf16`` or ``int8``.
        device: ``cpu`` or ``cuda``.
        options: engine settings that change values; JSON.
    """

    weights_sha256: str
    mask_sha256: str
    preprocessing: Preprocessing
    task_sha256: str
    split: str
    engine: str
    engine_version: str
    precision: str = "fp32"
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The key with what it says of the decoder, as stored in an entry's header."""
        facts = asdict(self)
        facts["options"] = dict(self.options)
        decoder = {"version": DECODING, "pillow": PIL.__version__}
        return json.loads(json.dumps({**facts, "decoder": decoder}))  # type: ignore[no-any-return]

    def digest(self) -> str:
        """sha256 of the key, hexadecimal: the entry's name."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
