"""pytest-benchmark sessions of the suite's workloads: ``uv run pytest bench/sessions``."""
