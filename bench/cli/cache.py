"""``sparsebench cache``: what the suite keeps on this machine, and how to be rid of it."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsebench.bench.cli.options import Json
from sparsebench.bench.cli.say import echo, echo_json

CLEAR_EPILOG = """Examples:

  sparsebench cache clear

  sparsebench cache clear features pictures

  sparsebench cache clear --unused-for 30
"""

cache_app = typer.Typer(
    help="What is kept between runs: sizes, the limit, and clearing it.", no_args_is_help=True
)


@cache_app.command("show")
def show(as_json: Json = False) -> None:
    """Show where the cache is, what is in it, how large it is and what its limit is."""
    from sparsebench.models.cache import cache_dir
    from sparsebench.models.cache_contents import LIMIT, held, limit_bytes

    found = held()
    if as_json:
        parts = [
            {
                "name": one.kind.name,
                "what": one.kind.what,
                "bytes": one.bytes,
                "entries": one.entries,
                "remade": one.kind.remade,
            }
            for one in found
        ]
        echo_json({"folder": str(cache_dir()), "limit_bytes": limit_bytes(), "parts": parts})
        return
    echo(f"{cache_dir()}: {size(sum(one.bytes for one in found))}")
    for one in found:
        if one.entries:
            fetched = "" if one.kind.remade else "; only `cache clear NAME` removes it"
            echo(f"  {size(one.bytes):>8}  {one.kind.name}: {one.kind.what}{fetched}")
    echo(
        f"What is made again by itself is kept below {size(limit_bytes())} after each run, oldest "
        f"first ({LIMIT}=GIGABYTES changes that)."
    )


@cache_app.command("clear", epilog=CLEAR_EPILOG)
def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Parts, as `cache show` names them (default: all made again)."),
    ] = None,
    unused_for: Annotated[
        float, typer.Option(min=0, help="Days: what was used since then stays.")
    ] = 0.0,
) -> None:
    """Remove what the next run makes again by itself, or the parts that are named."""
    from sparsebench.models.cache_contents import DAY
    from sparsebench.models.cache_contents import clear as clear_parts

    freed = clear_parts(names or (), unused_for=unused_for * DAY)
    echo(f"Removed {size(freed)}.")


def size(count: float) -> str:
    """Bytes for people."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count:.0f} B"
