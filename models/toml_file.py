"""The one reader of TOML files that people write: bounded, and every fault is one sentence."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from sparsebench.models.errors import SparsebenchError

MOST_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of at most 1 MiB.

    Raises:
        SparsebenchError: no regular file, too large, no UTF-8, not TOML, or nested too deeply.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SparsebenchError(f"{path} cannot be read: it is no regular file.")
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be read ({error.strerror}).") from error
    if len(raw) > MOST_BYTES:
        raise SparsebenchError(
            f"{path} is larger than {MOST_BYTES >> 20} MiB, which no such file is."
        )
    try:
        return tomllib.loads(raw.decode())
    except RecursionError as error:
        raise SparsebenchError(f"{path} is not valid TOML: it is nested too deeply.") from error
    except tomllib.TOMLDecodeError as error:
        raise SparsebenchError(f"{path} is not valid TOML: {str(error)[:300]}") from error
    except UnicodeDecodeError as error:
        raise SparsebenchError(f"{path} is not valid TOML: it is not UTF-8.") from error
    except ValueError as error:  # Python converts integers of up to 4,300 digits
        raise SparsebenchError(
            f"{path} is not valid TOML: it holds a number of too many digits."
        ) from error
