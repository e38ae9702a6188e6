"""Layers that are not computed: what they give is as large as if they were."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from sparsebench.models.architectures.shapes import uncomputed
from sparsebench.models.sparsify.start import imagenet_rows


@pytest.mark.parametrize(
    ("image", "weight", "given"),
    [
        ((2, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
        ((1, 8, 15, 9), (8, 1, 3, 5), {"padding": (1, 0), "groups": 8}),
        ((1, 8, 15, 9), (4, 8, 3, 3), {"stride": (2, 1), "dilation": (1, 3)}),
        ((1, 8, 15, 9), (4, 8, 3, 3), {"padding": "same"}),
        ((8, 15, 9), (4, 8, 3, 3), {"padding": 1}),
    ],
)
def test_a_convolution_s_output_is_as_large_as_pytorch_s(
    image: tuple[int, ...], weight: tuple[int, ...], given: dict[str, Any]
) -> None:
    told = functional.conv2d(torch.zeros(image), torch.zeros(weight), **given)
    with uncomputed():
        mine = functional.conv2d(torch.zeros(image), torch.zeros(weight), **given)
    assert mine.shape == told.shape


def test_nothing_is_drawn_and_the_generator_stays_where_it_was() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(1)
    torch.manual_seed(0)
    with uncomputed():
        torch.rand(3)
        drawn = nn.init.normal_(torch.zeros(2))
    assert drawn.tolist() == [0, 0] and torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("image", [(1, 8, 2, 9), (1, 7, 9, 9)])
def test_what_does_not_fit_is_refused(image: tuple[int, ...]) -> None:
    """A kernel larger than its input; another number of channels."""
    with uncomputed(), pytest.raises(RuntimeError):
        functional.conv2d(torch.zeros(image), torch.zeros(4, 8, 3, 3))


def test_the_order_of_imagenet_s_classes_is_timm_s() -> None:
    library: Any = timm
    names = library.data.ImageNetInfo().label_names()
    assert imagenet_rows(names) == list(range(1000))
