"""What a workload is and what it says of itself: all that the rest of the suite knows of it.

A workload is one file with one class that derives from :class:`Workload`. Tables, forecasts,
records and plans ask the class; none of them knows a workload by its name. What is heavy is
imported inside ``run_block``, because tables and the command line import the class too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sparsebench.bench.plan.settings import Settings
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.bench.plan.cells import Cell
    from sparsebench.bench.plan.plan import Plan
    from sparsebench.bench.records import Trial
    from sparsebench.bench.tasks.kinds import TaskKind

Unit = Literal["seconds", "images/s"]


@dataclass(frozen=True)
class Sizes:
    """What the work of a trial is counted in.

    Attributes:
        train: training images.
        test: test images.
        seeds: seeds of the plan.
    """

    train: int
    test: int
    seeds: int = 1


class Workload:
    """One kind of work whose time is measured.

    A workload that runs on an engine's session has a method ``run_block``; one that trains the
    network itself, or starts processes of its own, has ``train_block`` and takes its turn when
    the engines' processes of the block are gone.

    Attributes:
        name: as plans call it.
        engines: names of the engines that can do it; None for every engine.
        unit: what its speed is read in: ``seconds`` of a whole trial, or ``images/s``.
        caption: one line under its table: what its speeds are.
        settings: its section in a plan.
        seeded: whether the plan's seeds change what it computes.
        deals_seeds: whether each block trains other seeds.
        runs: which of the two parts of a network that a kind of task has (``extracted``,
            ``whole``) it runs; empty: it knows only tasks on which they are one.
        borrows_accuracy: whether it shows the accuracy of the cell that lends it.
        lends_accuracy: whether the accuracy of its trials is that of the engine's features, which
            other workloads on the same engine then show.
        accuracy_rank: which workload's accuracy others show where none lends its own: the
            smallest first; None for never.
        trains_backbone: whether it changes the backbone's weights.
        whole_job: whether a trial is a training from data to result, over which one-off costs
            can be shared out.
        engine_alone: whether nothing but the engine works while it is timed, so that a sample is
            an engine call, and whoever keeps its threads waiting is another program.
        engine_stages: stages of its trials in which it waits for its engine, where those are more
            than ``extract``.
        takes_requests: whether a sample is a request, whatever the batch size.
        counted: keys of :meth:`recorded` that :meth:`work` counts, or that do not change how
            long a unit of work takes.
        usual_seconds: that a cell of a small plan takes in a launch, on two cores. Progress weighs
            workloads by it until they are measured; nothing else does.
    """

    name: ClassVar[str]
    engines: ClassVar[tuple[str, ...] | None] = None
    unit: ClassVar[Unit] = "seconds"
    caption: ClassVar[str] = "seconds: one trial, as its workload clocks it."
    settings: ClassVar[type[Settings]] = Settings
    seeded: ClassVar[bool] = False
    deals_seeds: ClassVar[bool] = False
    runs: ClassVar[Literal["", "extracted", "whole"]] = ""
    borrows_accuracy: ClassVar[bool] = False
    lends_accuracy: ClassVar[bool] = False
    accuracy_rank: ClassVar[int | None] = None
    trains_backbone: ClassVar[bool] = False
    whole_job: ClassVar[bool] = False
    engine_alone: ClassVar[bool] = False
    engine_stages: ClassVar[tuple[str, ...]] = ()
    takes_requests: ClassVar[bool] = False
    counted: ClassVar[tuple[str, ...]] = ()
    usual_seconds: ClassVar[float] = 10.0

    @classmethod
    def identity(cls, plan: Plan) -> dict[str, Any]:
        """What else, beside a cell's own settings, makes it another cell: its section's keys."""
        own: dict[str, Any] = asdict(plan.section(cls.name, Settings))
        return {**own, "seeds": list(plan.seeds)} if cls.seeded else own

    @classmethod
    def check(cls, plan: Plan) -> None:
        """Check what its section asks of the rest of a plan that runs it.

        Raises:
            SparsebenchError: it cannot be done.
        """

    @classmethod
    def part_of(cls, kind: TaskKind) -> str:
        """What of a network it runs on tasks of a kind (:class:`Artifact`'s ``output``).

        Empty where it does not know such tasks; :meth:`known_part_of` then says so.
        """
        if cls.runs == "whole" or kind.whole == kind.extracted:
            return kind.whole
        return kind.extracted if cls.runs else ""

    @classmethod
    def known_part_of(cls, kind: TaskKind) -> str:
        """The same.

        Raises:
            SparsebenchError: it does not know such tasks.
        """
        if part := cls.part_of(kind):
            return part
        from sparsebench.bench.plan.workloads import WORKLOADS, workload_of

        able = sorted(name for name in WORKLOADS if workload_of(name).runs)
        raise SparsebenchError(
            f"'{cls.name}' does not know {kind.name} tasks.",
            f"Take --workload {' or --workload '.join(able)}.",
        )

    @classmethod
    def recorded(cls, plan: Plan, cell: Cell) -> dict[str, Any]:
        """What its record's ``settings`` say: whatever must match between two sides."""
        return cls.identity(plan)

    @classmethod
    def recorded_on(cls, plan: Plan, cell: Cell, kind: TaskKind) -> dict[str, Any]:
        """The same on tasks of a kind, where not every setting concerns every kind."""
        return cls.recorded(plan, cell)

    @classmethod
    def facts(cls, plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
        """What its record's ``extra`` says beside what every record does, from good trials."""
        return {}

    @classmethod
    def work(cls, recorded: Mapping[str, Any], sizes: Sizes) -> dict[str, float]:
        """Stage of its trials -> units of work: by what a stage's seconds grow.

        Args:
            recorded: what :meth:`recorded` says.
            sizes: of the task.

        Returns:
            Nothing where nothing is known: a forecast then repeats earlier trials of as many.
        """
        return {}

    @classmethod
    def trainings(cls, plan: Plan) -> int:
        """Times that all blocks of a plan take what a record gives as the seconds of a trial."""
        return plan.repeats
