"""What a wheel holds: two names in site-packages, `sparsebench` and `pytest_sparsebench`.

In a checkout `sparsebench/bench` and the like are links to the folders at the top of the
repository. A wheel holds those folders themselves below `sparsebench/`, so that no project's own
`models` or `bench` is in the way. The zoo's weights are a distribution of their own
(`models/zoo/pyproject.toml`): code changes often, 82 MB of weights do not.

Where the repository is public is known to whoever publishes it: with its address in
``SPARSEBENCH_URL`` the built package names it, and the README's links are absolute.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

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


class PlaceOfPublication(MetadataHookInterface):
    """Fills ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both to what pyproject.toml says."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = os.environ.get("SPARSEBENCH_URL", "").rstrip("/")
        metadata["urls"] = {}
        if address:
            text = with_absolute_links(text, address)
            metadata["urls"] = {
                "Repository": address,
                "Documentation": f"{address}/blob/HEAD/docs/index.md",
                "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
                "Issues": f"{address}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_absolute_links(text: str, address: str) -> str:
    """Markdown whose links to files of the repository, and its pictures, lead to its address."""

    def absolute(link: re.Match[str]) -> str:
        form = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['words']}]({address}/{form}/HEAD/{link['path']})"

    pattern = r"(?P<picture>!?)\[(?P<words>[^]]*)\]\((?!\w+:|#)(?P<path>[^)]+)\)"
    return re.sub(pattern, absolute, text)
