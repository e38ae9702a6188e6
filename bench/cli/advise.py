"""``sparsebench advise``: which variant to take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import Json, certainty
from sparsebench.bench.cli.say import echo_json
from sparsebench.models.errors import UnknownNameError

EPILOG = """Examples:

  sparsebench advise runs/monday --max-accuracy-loss 0.5

  sparsebench advise runs/batch-64 runs/batch-1 --batch-size 1 --latency 20ms

  sparsebench advise runs/monday --production --json

  sparsebench advise runs/monday --retrain-every day

With --retrain-every P, one machine trains and serves: a variant that trains for T and takes t for
an image serves (P - T) / t images in a period, and the one that serves most is taken.

Exit codes: 0 every answer is shown, 1 what was measured does not fit the limits, 2 wrong usage,
3 nothing was measured at this batch size, 4 cannot tell: an answer is not shown, and the text names
what would show it (--inconclusive makes 0 or 1 of it).
"""
INCONCLUSIVE = {"fail": 1, "pass": 0}


def advise(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one machine.")],
    max_accuracy_loss: Annotated[
        float, typer.Option(help="Points of accuracy that may be lost against dense.")
    ] = 0.5,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per call in inference (default: the only one).")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(help="Limit that 95 % of the calls must keep: 20ms.")
    ] = None,
    retrain_every: Annotated[
        str | None, typer.Option(help="Weigh training and inference: hour, day, week, 6h, ...")
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Only engines whose licence allows production.")
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(help="Dense backbone that losses count against (default: each its own)."),
    ] = None,
    confidence: Annotated[
        str, typer.Option(help="Probability with which the accuracy limit must hold.")
    ] = "95%",
    inconclusive: Annotated[
        str,
        typer.Option(
            metavar="fail|pass",
            help="Where an answer is not shown: fail or pass (default: exit code 4).",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Say which variant to take for inference and for fine-tuning, and what is not shown yet."""
    from sparsebench.bench.decide import Limits, Request, RunData
    from sparsebench.bench.decide import advise as answer
    from sparsebench.bench.decide.advice import CANNOT_TELL
    from sparsebench.bench.decide.retraining import seconds_of
    from sparsebench.bench.records import RunFolder

    if inconclusive not in ("", *INCONCLUSIVE):
        raise UnknownNameError("--inconclusive", inconclusive, INCONCLUSIVE)
    request = Request(
        limits=Limits(
            max_accuracy_loss,
            None if latency is None else seconds_of(latency, "--latency"),
            production,
            certainty(confidence, "--confidence"),
        ),
        batch_size=batch_size,
        retrain_every=(
            None if retrain_every is None else seconds_of(retrain_every, "--retrain-every")
        ),
        reference=reference,
    )
    folders = RunFolder.reading_all(runs)
    data = [RunData.of(str(one.path), one.records(), one.trials()) for one in folders]
    advice = answer(data, request)
    if as_json:
        from sparsebench.bench.present.decisions.answer_json import advice_json

        echo_json(advice_json(advice))
    else:
        from sparsebench.bench.cli.console import show
        from sparsebench.bench.present.decisions.advice_text import advice_text

        show(advice_text(advice))
    code = advice.exit_code
    raise typer.Exit(INCONCLUSIVE.get(inconclusive, code) if code == CANNOT_TELL else code)
