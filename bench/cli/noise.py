"""``sparsebench noise``: how much two equal processes differ on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsebench.bench.cli.options import Json
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.models.errors import SparsebenchError

EPILOG = """Examples:

  sparsebench noise

  sparsebench noise --engine deepsparse --blocks 12 --threads 4
"""
SHOWN_BLOCKS = (3, 5, 8)


def noise(
    engine: Annotated[str, typer.Option(help="Engine to run against itself.")] = "onnxruntime",
    blocks: Annotated[int, typer.Option(help="Pairs of fresh processes.")] = 8,
    threads: Annotated[int, typer.Option(help="CPU threads (0: all).")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images per engine call.")] = 64,
    min_seconds: Annotated[float, typer.Option(help="Least time of a visit, seconds.")] = 0.4,
    as_json: Json = False,
) -> None:
    """Measure the noise floor of this machine and store it for the gate."""
    from sparsebench.bench.cli.console import new_console
    from sparsebench.bench.gate.noise import measure_noise, store_noise
    from sparsebench.bench.gate.refusals import noise_floor
    from sparsebench.models.cpus import usable_cpus

    for name, value, least in (("blocks", blocks, 3), ("batch-size", batch_size, 1)):
        if value < least:
            raise SparsebenchError(f"--{name} must be {least} or more, not {value}.")
    if not 0 <= threads <= usable_cpus():
        raise SparsebenchError(f"--threads must lie between 0 and {usable_cpus()}.")
    with new_console(stderr=True).status("") as status:
        found = measure_noise(
            engine=engine,
            blocks=blocks,
            threads=threads or usable_cpus(),
            batch_size=batch_size,
            min_seconds=min_seconds,
            say=status.update,
        )
    path = store_noise(found)
    floors = {count: noise_floor(found.log_sd, count, count) for count in SHOWN_BLOCKS}
    if as_json:
        from dataclasses import asdict

        echo_json({**asdict(found), "floors": floors, "stored": str(path)})
        return
    echo(f"Two equal processes of {engine} differ by {found.log_sd:.1%} (standard deviation")
    echo(f"of a block's ratio, {blocks} blocks). Smallest change that the gate can be asked")
    echo("for: " + ", ".join(f"{floor:.1%} with {count} blocks" for count, floor in floors.items()))
    echo(f"Stored in {path}")
