"""``python -m tests.fuzz TARGET RUNS``: coverage-guided fuzzing with atheris.

What breaks a reader is written to ``tests/fuzz/corpus/TARGET/``, where the tests find it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

CORPUS = Path(__file__).parent / "corpus"
name, runs = sys.argv[1], sys.argv[2]
with atheris.instrument_imports(include=["sparsebench", "tarfile", "tomllib"]):
    from tests.fuzz.targets import try_bytes


def one(data: bytes) -> None:
    """Try one input, and keep it where it breaks the reader."""
    try:
        try_bytes(name, data)
    except Exception:
        kept = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
        raise


atheris.Setup([sys.argv[0], f"-runs={runs}", str(CORPUS / name)], one)
atheris.Fuzz()
