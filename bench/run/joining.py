"""Joining a Ray cluster, with a clear word where none can be joined."""

from __future__ import annotations

import importlib
import logging
import socket
from importlib.util import find_spec
from typing import Any

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import install_command


def join(address: str, wait: float) -> Any:
    """Ray, joined.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``.
        wait: seconds for an answer at the address.

    Raises:
        SparsebenchError: Ray is not installed, or nobody answers at the address.
    """
    if find_spec("ray") is None:
        raise SparsebenchError(
            "--ray needs Ray, which is not installed.",
            f"Install it: {install_command('sparsebench[ray]')}",
        )
    _refuse_silent(address, wait)
    ray = importlib.import_module("ray")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a refused connection, another version of Ray or Python, a token
        raise SparsebenchError(
            f"The Ray cluster at {address} cannot be joined: {_first_line(error)}",
            "Check the address, and that Ray and Python are of the same versions on all machines.",
        ) from error
    return ray


def _refuse_silent(address: str, wait: float) -> None:
    """Stop where nobody listens, sooner than Ray gives up.

    Raises:
        SparsebenchError: no address, or nobody answers.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SparsebenchError(
            f"'{address}' is no address of a Ray cluster.",
            "Give HOST:PORT, as `ray start --head` prints it, or auto.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=wait).close()
    except OSError as error:
        raise SparsebenchError(
            f"Nobody answers at {address} ({error.strerror or error}; {wait:g} s at most).",
            "Start the cluster (`ray start --head`), or check the address.",
        ) from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
