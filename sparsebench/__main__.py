"""``python -m sparsebench`` is the ``sparsebench`` command."""

from sparsebench.bench.cli import main

main()
