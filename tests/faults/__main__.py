"""``python -m tests.faults COUNT [SEED]``: inject faults and report."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.images import write_images
from tests.faults.injections import inject

count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
# Files in memory: nothing here waits for a disk, whose own failures are simulated.
shared = Path("/dev/shm")
with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
    images = write_images(Path(folder) / "pictures")
    found = inject(count, seed, Path(folder), images, lambda text: print(text, file=sys.stderr))
print(found.table())
for kind, lost in found.lost.items():
    print(f"{kind}: {lost}")
sys.exit(bool(found.lost))
