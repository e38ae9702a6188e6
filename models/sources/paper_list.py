"""The published checkpoints that the CVPR 2022 paper transfers, or was compared with.

Accuracies are top-1 on ImageNet-1k as stated by the repositories of AC/DC (global
sparsity), RigL (ERK, without label smoothing), WoodFisher (best epoch) and M-FAC. STR's
files in the paper were retrained without label smoothing and have no stated accuracy; nor
have the dense ones and the lottery tickets.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparsebench.models.cards import Family
from sparsebench.models.names import format_percent

_TRANSFER = "seafile.ist.ac.at/d/"
_RESNET = f"{_TRANSFER}91de9650cfb54b77b7d1 (sparse-imagenet-transfer, ResNet-50)"
_MOBILENET = f"{_TRANSFER}48652b95fdd04bcd8bb6 (sparse-imagenet-transfer, MobileNet)"
_RIGL = "storage.googleapis.com/gresearch/rigl/S{}erk_nolabelsmooth_{}x.tar.gz (TensorFlow)"
_MFAC = f"{_TRANSFER}5d06074221604d90909b (M-FAC)"
_ACDC = {
    80: "seafile.ist.ac.at/f/081f90d21c9e4236bd14",
    90: "seafile.ist.ac.at/f/1b4f578130364e5bb929",
    95: "seafile.ist.ac.at/f/e51ab6ee47bb490cb119",
    98: "seafile.ist.ac.at/f/9ec9f8f4eda04c5f9d74",
}


@dataclass(frozen=True)
class Published:
    """One checkpoint.

    Args:
        arch: of the backbone's name; all of one architecture are compared.
        method: pruning method.
        family: the paper's taxonomy.
        sparsity: nominal, 0..1.
        stems: file names without suffix, the authors' own first.
        top1: stated ImageNet accuracy, 0..1.
        where: where it was published.
        layout: the architecture that the file's network is.
        note: for a reader.
    """

    arch: str
    method: str
    family: Family
    sparsity: float
    stems: tuple[str, ...]
    top1: float | None
    where: str
    layout: str
    note: str = ""


def _one(
    arch: str,
    method: str,
    family: Family,
    percent: float,
    top1: float | None,
    where: str,
    *,
    stem: str = "",
    layout: str = "",
    note: str = "",
) -> Published:
    stem = stem or f"{method}_{format_percent(percent / 100)}"
    # Where both lie in a folder: the transfer results are those of networks without smoothing.
    stems = (f"{stem}_noLS", stem) if method == "str" else (stem,)
    accuracy = None if top1 is None else round(top1 / 100, 6)
    return Published(
        arch, method, family, percent / 100, stems, accuracy, where, layout or arch, note
    )


def _resnet50() -> list[Published]:
    found = [_one("resnet50", "dense", "dense", 0, None, _RESNET, stem="dense")]
    for percent, top1 in ((80, 76.45), (90, 75.03), (95, 73.14), (98, 68.48)):
        where = f"{_RESNET}; original {_ACDC[percent]}"
        found.append(_one("resnet50", "acdc", "regularization", percent, top1, where))
    for percent in (80, 90, 95, 98):
        note = "Retrained without label smoothing."
        found.append(_one("resnet50", "str", "regularization", percent, None, _RESNET, note=note))
    stated = {"1x": (75.02, 73.4, 70.39), "5x": (76.17, 75.9, 74.36)}
    for length, accuracies in stated.items():
        for percent, top1 in zip((80, 90, 95), accuracies, strict=True):
            published = _one(
                "resnet50",
                f"rigl_erk_{length}",
                "regularization",
                percent,
                top1,
                f"{_RESNET}; original {_RIGL.format(percent, length[0])}",
                stem=f"rigl_erk{length}_{percent}_noLS",
                layout="resnet50_rigl",
            )
            found.append(published)
    for percent, top1 in ((80, 76.73), (90, 75.26), (95, 72.16)):
        where = f"{_RESNET}; the original on request"
        found.append(_one("resnet50", "woodfisher", "progressive", percent, top1, where))
    for percent, top1 in ((95, 72.6), (98, 67.6)):
        found.append(_one("resnet50", "mfac", "progressive", percent, top1, _MFAC))
    for percent in (80, 90, 95):
        note = "Weights are the dense ones times the mask, not retrained."
        where = "nowhere public; from its authors on request"
        found.append(
            _one(
                "resnet50", "lth_t", "lottery ticket", percent, None, where,
                stem=f"lth_{percent}", note=note,
            )
        )  # fmt: skip
    return found


def _mobilenet() -> list[Published]:
    arch = "mobilenet_v1"
    found = [_one(arch, "dense", "dense", 0, None, _MOBILENET, stem="dense")]
    for percent, top1 in ((30, None), (40, None), (50, None), (75, 70.41), (90, 66.24)):
        found.append(_one(arch, "acdc", "regularization", percent, top1, _MOBILENET))
    for percent in (75, 90):
        found.append(_one(arch, "str", "regularization", percent, None, _MOBILENET))
    for percent, top1 in ((75, 70.9), (89, 67.2)):
        where = f"{_MOBILENET}; original {_MFAC}"
        found.append(_one(arch, "mfac", "progressive", percent, top1, where))
    return found


PUBLISHED: tuple[Published, ...] = (*_resnet50(), *_mobilenet())
