"""From a folder of images to a finished file: build, train, round, evaluate, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsebench.models.architectures import prunable_layers
from sparsebench.models.blocks import broken_blocks
from sparsebench.models.cards import Budget, Preprocessing
from sparsebench.models.checkpoints.compact import load_compact, save_compact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images import open_images
from sparsebench.models.images.labelled import LabelledImages, ReadOptions
from sparsebench.models.images.losses import Losses
from sparsebench.models.masks import mask_of
from sparsebench.models.masks import sparsity as mask_sparsity
from sparsebench.models.names import with_block, with_pattern
from sparsebench.models.patterns import broken_groups
from sparsebench.models.sparsify.data import MEAN, STD, decode_split
from sparsebench.models.sparsify.distill import load_teacher
from sparsebench.models.sparsify.evaluate import evaluate
from sparsebench.models.sparsify.method import Method
from sparsebench.models.sparsify.resume import Progress, remove_training
from sparsebench.models.sparsify.settings import changed_recipe, check_settings, fitting
from sparsebench.models.sparsify.start import first_weights
from sparsebench.models.sparsify.train import Execution, train

# 16-bit values are kept if they move the accuracy by no more than this.
ROUNDING_TOLERANCE = 0.001


@dataclass(frozen=True)
class Produced:
    """What :func:`sparsify` made.

    Attributes:
        path: the compact file.
        sparsity: share of zeros in all prunable weights, counted in what was written.
        accuracy: top-1 of what was written on the test split, 0 to 1.
        accuracy_before_rounding: of the float32 weights.
        values: ``"float16"`` or ``"float32"``.
        preprocessing: that the accuracy was measured with.
        classes: of the images, in the order of the outputs.
        skipped: images that cannot be decoded, each ``"name: reason"``.
        losses: of each class what was left out, these among them.
        images: how many were trained on and how many tested on.
        history: the last report of each epoch.
        facts: what the method says of how it came about.
    """

    path: Path
    sparsity: float
    accuracy: float
    accuracy_before_rounding: float
    values: str
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    losses: Losses
    images: tuple[int, int]
    history: tuple[Progress, ...]
    facts: dict[str, str]


def sparsify(
    arch: str,
    method: str,
    sparsity: float,
    data: str | Path,
    epochs: int,
    out: str | Path,
    *,
    start: str | Path | None = None,
    teacher: str | Path | None = None,
    resume: bool = True,
    overwrite: bool = False,
    device: str = "cpu",
    block: int = 1,
    pattern: str = "",
    size: int = 64,
    seed: int = 0,
    recipe: dict[str, Any] | None = None,
    execution: Execution | None = None,
    reading: ReadOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Produced:
    """Train a network to a sparsity and write it in the compact format.

    A folder with few images is trained in smaller batches than the recipe says, at a
    learning rate as much smaller, unless ``recipe`` gives a batch size.

    Beside ``out`` a file ``*.ckpt`` holds the training while it lasts; calling this
    again with the same settings goes on from there.

    Args:
        arch: an architecture's name.
        method: a name in :data:`sparsebench.models.methods.METHODS`.
        sparsity: share of all prunable weights that shall be zero, 0 to 1; 0 for ``dense``.
        data: folder or tar with ``train/CLASS/*`` and ``test/CLASS/*`` (or ``val``).
        epochs: over the training split.
        out: file to write, ``*.safetensors``.
        start: checkpoint file or backbone name to start from; random weights by default.
        teacher: file or backbone name whose outputs are a second target (distillation).
        resume: go on from the training's own checkpoint if there is one.
        overwrite: replace ``out`` if it is there.
        device: ``"cpu"`` or ``"cuda"``.
        block: input channels that are pruned together (``models/blocks.py``); the method's
            name in the file says so, like ``gmp_block4``.
        pattern: of the zeros, ``2:4`` (``models/patterns.py``), at a sparsity of 0.5; the name in
            the file says so, like ``gmp_2of4``.
        size: side of the input in pixels, in training and evaluation.
        seed: of the first weights, the order of images and augmentation.
        recipe: fields of the method's recipe that shall differ.
        execution: precision, compilation, how often to save; its device is ``device``.
        reading: how images are read: cache folder, strictness, consent to losses.
        progress: called every few steps.

    Raises:
        SparsebenchError: anything that the user can put right.
    """
    data, out = Path(data), Path(out)
    chosen = check_settings(
        arch,
        method,
        sparsity,
        epochs,
        out,
        start,
        overwrite,
        size,
        seed,
        recipe or {},
        block,
        pattern,
    )
    checkpoint = out.with_name(out.name + ".ckpt")
    if not resume:
        remove_training(checkpoint)

    # All of it now, not after hours of training.
    images = open_images(data, reading or ReadOptions())
    examples = decode_split(images, "train", size, reading)
    # What is given as it is by default (a printed plan says it all) still fits the folder.
    wanted = {k: v for k, v in (recipe or {}).items() if v != asdict(chosen.recipe)[k]}
    settings = changed_recipe(fitting(chosen.recipe, len(examples.labels), wanted), wanted)
    names = list(images.classes)
    module = first_weights(arch, examples.classes, seed, start)
    distillation = load_teacher(str(teacher), names, device) if teacher is not None else None
    layers = prunable_layers(module)
    weights = {f"{n}.weight": module.get_parameter(f"{n}.weight") for n in layers}
    history = train(
        module,
        weights,
        examples,
        chosen,
        settings,
        epochs,
        seed=seed,
        checkpoint=checkpoint,
        execution=replace(execution or Execution(), device=device),
        progress=progress,
        distillation=distillation,
        said={
            "arch": arch,
            "size": size,
            **({"block": block} if block > 1 else {}),
            **({"pattern": pattern} if pattern else {}),
            "classes": list(names),
            "start": _describe(start),
            "teacher": _describe(teacher, "none"),
        },
    )
    try:
        _check_reached(chosen, module, history[-1].total_steps if history else 0)
    except SparsebenchError:
        remove_training(checkpoint)  # going on from its end would help nobody
        raise
    preprocessing = Preprocessing(size, size, "bilinear", MEAN, STD)
    metadata = {
        "arch": arch,
        "num_classes": str(len(examples.classes)),
        "method": with_pattern(with_block(method, block), pattern),
        **({"pattern": pattern} if pattern else {}),
        "sparsity": f"{sparsity:g}",
        "epochs": str(epochs),
        "seed": str(seed),
        "recipe": json.dumps(asdict(settings)),
        "start": _describe(start),
        **_budget(start, epochs, len(images.train)),
        "teacher": _describe(teacher, "none"),
        "method_facts": json.dumps(chosen.facts()),
        "preprocessing": json.dumps(asdict(preprocessing)),
        "classes": json.dumps(examples.classes),
        "upstream_data": f"{images.name}, test split "
        f"({len(images.test)} images, {len(names)} classes)",
    }
    exact, written, values = _write(module, out, metadata, images, preprocessing, device)
    remove_training(checkpoint)
    return Produced(
        out,
        mask_sparsity(mask_of(module)),
        written,
        exact,
        values,
        preprocessing,
        examples.classes,
        images.skipped,
        images.losses,
        (len(images.train), len(images.test)),
        tuple(history),
        chosen.facts(),
    )


def _check_reached(method: Method, module: nn.Module, steps: int) -> None:
    mask = mask_of(module)
    reached, wanted = mask_sparsity(mask), method.sparsity
    if method.block > 1:
        broken = broken_blocks(method.masks, method.block)
        outside = sum(
            int((kept & ~method.masks[n].to(kept.device)).sum()) for n, kept in mask.items()
        )
        if broken or outside or not method.masks:
            raise SparsebenchError(
                f"The mask of {method.name} is not made of blocks of {method.block}: {broken} are "
                f"broken, {outside} weights lie outside; nothing was written.",
                "Report it, with the plan.",
            )
    if method.pattern:
        _check_pattern(method, mask)
        return  # its count is exact, whatever share of the network has no pattern
    if abs(reached - wanted) > method.tolerance:
        raise SparsebenchError(
            f"The training ended with {reached:.2%} zeros instead of {wanted:.2%}, after "
            f"{steps} steps; nothing was written.",
            "Give more epochs or images, or another sparsity.",
        )


def _check_pattern(method: Method, mask: Mapping[str, torch.Tensor]) -> None:
    broken = broken_groups(method.masks) if method.masks else 0
    outside = sum(int((kept & ~method.masks[n].to(kept.device)).sum()) for n, kept in mask.items())
    if broken or outside or not method.masks:
        raise SparsebenchError(
            f"The mask of {method.name} is not {method.pattern}: {broken} groups are broken, "
            f"{outside} weights lie outside; nothing was written.",
            "Give more epochs or images.",
        )


def _describe(start: str | Path | None, nothing: str = "random weights") -> str:
    """A backbone's name, or a file's hash: paths of this machine tell nobody anything."""
    if start is None:
        return nothing
    if Path(start).is_file():
        return f"file with sha256 {hashlib.sha256(Path(start).read_bytes()).hexdigest()}"
    return str(start)


def _budget(start: str | Path | None, epochs: int, images: int) -> dict[str, str]:
    """What all training behind the weights comes to; nothing where the start does not say."""
    from sparsebench.models.zoo import find_card

    before: Budget | None = Budget(0, 0)
    if start is not None:
        try:
            before = find_card(str(start)).budget
        except SparsebenchError:
            before = None  # a file that says nothing of itself
    if before is None:
        return {}
    whole = Budget(before.epochs + epochs, before.images + epochs * images)
    return {"budget": json.dumps(asdict(whole))}


def _write(
    module: nn.Module,
    out: Path,
    metadata: dict[str, str],
    images: LabelledImages,
    preprocessing: Preprocessing,
    device: str,
) -> tuple[float, float, str]:
    """Write with 16-bit values if they are as accurate; leaves in ``module`` what was written.

    Returns:
        Accuracy before rounding, accuracy of the file, type of its values.
    """
    exact = evaluate(module, images, preprocessing, device=device)
    original = {n: t.cpu().clone() for n, t in module.state_dict().items()}
    trial = out.with_name(f".{out.stem}.trial.safetensors")
    dtype: torch.dtype | None = torch.float16
    try:
        save_compact(trial, original, metadata, dtype=dtype)
        module.load_state_dict(load_compact(trial)[0])
        accuracy = evaluate(module, images, preprocessing, device=device)
    finally:
        trial.unlink(missing_ok=True)
    if abs(accuracy - exact) > ROUNDING_TOLERANCE:
        dtype, accuracy = None, exact
        module.load_state_dict(original)
    measured = {
        "upstream_accuracy": f"{accuracy:.4f}",
        "measured_sparsity": f"{mask_sparsity(mask_of(module)):.6f}",
    }
    save_compact(out, original, {**metadata, **measured}, dtype=dtype)
    module.load_state_dict(load_compact(out)[0])
    return exact, accuracy, "float32" if dtype is None else "float16"
