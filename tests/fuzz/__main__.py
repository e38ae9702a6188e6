"""``python -m tests.fuzz TARGET RUNS``: coverage-guided fuzzing with atheris.

What breaks a reader is written to ``tests/fuzz/corpus/TARGET/``, where the tests find it.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]

CORPUS = Path(__file__).parent / "corpus"
name, runs = sys.argv[1], sys.argv[2]
with atheris.instrument_imports(include=["sparsebench", "tarfile", "tomllib"]):
    # What a target imports when it is called must be here, or its lines are not seen.
    import sparsebench.models.checkpoints.state_dict
    import sparsebench.models.onnx_file.graph  # noqa: F401
    from tests.fuzz.targets import good_bytes, try_bytes


def one(data: bytes) -> None:
    """Try one input, and keep it where it breaks the reader."""
    try:
        try_bytes(name, data)
    except Exception:
        kept = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
        raise


# The first folder is written to, with whatever reaches new lines; what broke is kept by `one`.
reached = Path(tempfile.mkdtemp())
(reached / "good").write_bytes(good_bytes(name))
atheris.Setup([sys.argv[0], f"-runs={runs}", str(reached), str(CORPUS / name)], one)
atheris.Fuzz()
