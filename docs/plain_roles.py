"""Docstrings name things in Sphinx's form, ``:func:`run` ``; the pages show the name alone."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")


class PlainRoles(Extension):
    """Takes the role away."""

    def on_instance(self, *, obj: Object, **facts: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
