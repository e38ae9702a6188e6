"""A preset that keeps to minutes: fewer images and smaller batches where the network is large.

A plan may say how many thousand millions of multiply-adds (GMACs) of its largest dense network one
engine call (``call_gmacs``) and one pass over the images of a task (``task_gmacs``) may take. What
is larger gets a smaller batch and a part of the images. It goes by counts and not by a clock: the
same command measures the same cells on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import floor, log10

from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.obstacles import to_fetch
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.tasks import open_task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import is_onnx_name

LEAST_BATCH = 16
LEAST_IMAGES, LEAST_OF_A_CLASS = 200, 4
"""Images that are taken however large the network is: of a task, and of each class."""
_SMALL_CALL = 9.5  # GMACs of 64 images of 64 px
_CLASSES = 1000  # of a head that hardly counts


def downsized(
    plan: Plan, say: Callable[[str], None] = lambda text: None, *, fetch: bool = True
) -> tuple[Plan, str]:
    """The plan with its batch size and limit made small enough, and a sentence on what was done.

    Args:
        plan: checked. Tasks are opened to count their images.
        say: told what is being done.
        fetch: whether a task that is not here may be downloaded to be counted; else its images
            are taken to be many.

    Returns:
        A plan without the two keys, so that it stands for the same cells wherever it is read; the
        sentence is empty where nothing had to be changed.

    Raises:
        SparsebenchError: a task cannot be opened.
    """
    done = replace(plan, call_gmacs=0.0, task_gmacs=0.0)
    if not (plan.call_gmacs or plan.task_gmacs):
        return done, ""
    gmacs = _gmacs(plan)
    batch = plan.batch_size
    while plan.call_gmacs and batch >= 2 * LEAST_BATCH and batch * gmacs > plan.call_gmacs:
        batch //= 2
    limit, all_ = _limit(plan, gmacs, say, fetch) if plan.task_gmacs and gmacs else (0, "")
    told = [f"{limit} of the {all_} images (--limit 0: all)"] if limit else []
    if batch != plan.batch_size:
        told.append(f"batches of {batch} (--batch-size {plan.batch_size}: as usual)")
    if not told:
        return done, ""
    return (
        replace(done, batch_size=batch, limit=limit or plan.limit),
        f"The network takes {float(f'{gmacs:.2g}'):g} billion multiply-adds an image. To keep to "
        f"minutes, '{plan.name}' takes {' and '.join(told)}.",
    )


def _limit(plan: Plan, gmacs: float, say: Callable[[str], None], fetch: bool) -> tuple[int, str]:
    """Images of a task at most, and how many there are; 0 where every task is small enough."""
    most, images, classes = _rounded(plan.task_gmacs / gmacs), 0, 0
    for name in plan.tasks:
        if not fetch and to_fetch(name, plan):
            return max(most, LEAST_IMAGES), "task's"
        say(f"counting the images of {name}")
        task = open_task(
            name,
            **plan.task_options,
            say=say,
            progress=lambda done, all_: say(f"checking images {done}/{all_}"),
        )
        images = max(images, len(task.train) + len(task.test))
        classes = max(classes, len(task.classes))
    limit = max(most, LEAST_IMAGES, LEAST_OF_A_CLASS * classes)
    return (limit, f"{images:,}") if limit < images else (0, "")


def as_begun(plan: Plan, earlier: Plan) -> Plan:
    """The plan with what the run that it goes on with measures, where its own rules would choose.

    That run may be of a version without these rules, or its folder of images have grown.
    """
    return replace(
        plan,
        limit=earlier.limit if plan.task_gmacs else plan.limit,
        batch_size=earlier.batch_size if plan.call_gmacs else plan.batch_size,
        task_gmacs=0.0,
        call_gmacs=0.0,
    )


def beside_small(plan: Plan) -> float:
    """How much longer than those of a small plan its cells take, about: for a first guess.

    A small one has a ResNet-18 at 64 px, whose cells take half of their time for what is not
    arithmetic.
    """
    gmacs = _gmacs(plan)
    return 0.5 + 0.5 * plan.batch_size * gmacs / _SMALL_CALL if gmacs else 1.0


def _gmacs(plan: Plan) -> float:
    """Thousand millions of multiply-adds of the plan's largest dense network, for one image.

    0 where no network can be counted; its cells will say why.
    """
    networks = {(cell.dense, cell.card.arch, cell.size) for cell in expand(plan)}
    return max((_of_network(*network) for network in networks), default=0.0)


@cache
def _of_network(name: str, arch: str, size: int) -> float:
    from sparsebench.models.costs import dense_macs, total_cost
    from sparsebench.models.onnx_file.backbone import OnnxBackbone
    from sparsebench.models.zoo.load import load_to_run

    try:
        if not is_onnx_name(name):
            return dense_macs(arch, _CLASSES, (3, size, size)) / 1e9
        backbone = load_to_run(name)
        assert isinstance(backbone, OnnxBackbone)
        return total_cost(backbone.costs(backbone.side(size))).macs / 1e9
    except SparsebenchError:
        return 0.0


def _rounded(images: float) -> int:
    """Down to two digits: 385.9 is 380."""
    step = int(10 ** max(0, floor(log10(max(images, 1.0))) - 1))
    return int(images // step) * step
