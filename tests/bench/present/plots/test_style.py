"""Colours, markers and sizes: the same for the same thing, and other for every other thing."""

from __future__ import annotations

import numpy as np
import pytest

from sparsebench.bench.present.plots import style


def test_same_method_and_engine_look_the_same_in_every_figure() -> None:
    few = style.method_colours(["acdc", "gmp"])
    many = style.method_colours(["gmp", "acdc", "str", "mine", "yours"])
    assert few["acdc"] == many["acdc"] and few["gmp"] == many["gmp"]
    assert len(set(many.values())) == 5
    assert len(set(style.engine_markers(["torch", "torch cuda", "deepsparse"]).values())) == 3


def test_methods_differ_in_colour_and_marker() -> None:
    looks = style.method_looks(["acdc", "gmp", "gmp_uniform", "rigl", "magnitude", "mine"])
    colours, markers = zip(*looks.values(), strict=True)
    assert len(set(colours)) == len(set(markers)) == 6


def test_the_paper_s_methods_and_ours_all_differ() -> None:
    """Up to twelve do; one that is known by name may not take another's look."""
    looks = style.method_looks([*style.METHODS[:2], *style.METHODS[-9:]])
    assert len(set(looks.values())) == len(looks) == 11


def test_sizes_rise_with_sparsity() -> None:
    sizes = style.sparsity_sizes([0.9, 0.5, 0.98, 0.9])
    assert list(sizes) == [0.5, 0.9, 0.98] and list(sizes.values()) == sorted(sizes.values())


@pytest.mark.parametrize(
    "blind",
    [[[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]],
     [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]],
    ids=["deuteranopia", "protanopia"],
)  # fmt: skip
def test_colours_stay_apart_for_colour_blind_readers(blind: list[list[float]]) -> None:
    """Viénot et al. (1999): every pair stays distinguishable."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714],
                       [0.0299566, 0.184309, 1.46709]])  # fmt: skip
    seen = []
    for colour in style.COLOURS[:6]:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        seen.append(np.linalg.inv(to_lms) @ np.array(blind) @ to_lms @ rgb**2.2)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 0.05
