"""``python -m tests.faults COUNT [SEED]``: inject faults and report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.injections import inject
from tests.faults.pictures import write_pictures

count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
# Files in memory: nothing here waits for a disk, whose own failures are simulated.
shared = Path("/dev/shm")
with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
    pictures = write_pictures(Path(folder) / "pictures")
    found = inject(count, seed, Path(folder), pictures, lambda text: print(text, file=sys.stderr))
print(found.table())
for kind, lost in found.lost.items():
    print(f"{kind}: {lost}")
sys.exit(bool(found.lost))
