"""Compiled modules for the processes that the suite starts, also where Python may not keep any.

Containers like to set ``PYTHONDONTWRITEBYTECODE``. A run starts dozens of processes, and each
would compile all of PyTorch's sources again: seen, 16 s instead of 6 s before a training begins.
What the variable asks for, no files beside the sources, still holds: they lie in the cache.
"""

from __future__ import annotations

import os
import sys

from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError

FORBIDDEN = "PYTHONDONTWRITEBYTECODE"
PREFIX = "PYTHONPYCACHEPREFIX"


def keep_bytecode() -> None:
    """Keep compiled modules in the suite's cache, for this process and those it starts.

    Nothing happens where Python keeps them anyway, or where the cache cannot be written.
    """
    if not os.environ.get(FORBIDDEN):
        return
    if not os.environ.get(PREFIX):
        try:
            os.environ[PREFIX] = str(cache_dir("bytecode"))
        except SparsebenchError:
            return
    sys.pycache_prefix = os.environ[PREFIX]
    sys.dont_write_bytecode = False
    del os.environ[FORBIDDEN]
