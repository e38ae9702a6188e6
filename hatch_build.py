"""What a wheel holds: two names in site-packages, `sparsebench` and `pytest_sparsebench`.

In a checkout `sparsebench/bench` and the like are links to the folders at the top of the
repository. A wheel holds those folders themselves below `sparsebench/`, so that no project's own
`models` or `bench` is in the way. The zoo's weights are a distribution of their own
(`models/zoo/pyproject.toml`): code changes often, 82 MB of weights do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("bench", "exporters", "models", "results/schema", "results/paper")
FILES = {"results/__init__.py": "sparsebench/results/__init__.py"}
LEFT_OUT = {".safetensors", ".pyc"}


class FoldersOfTheCheckout(BuildHookInterface[Any]):
    """Adds the folders at the top of the repository below `sparsebench/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill `force_include`: path in the checkout -> path in the wheel."""
        if version == "editable":
            return
        root = Path(self.root)
        kept = {str(root / source): target for source, target in FILES.items()}
        for folder in FOLDERS:
            for path in sorted((root / folder).rglob("*")):
                if path.is_file() and path.suffix not in LEFT_OUT and path.name != "pyproject.toml":
                    kept[str(path)] = f"sparsebench/{path.relative_to(root)}"
        build_data["force_include"].update(kept)
