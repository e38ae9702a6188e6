"""``python -m bench`` is the ``sparsebench`` command."""

from bench.cli import main

main()
