"""Many crops of different sizes brought to one size in two matrix products.

The antialiased filters of PyTorch's uint8 kernel (:func:`bench.images.decode.resample`), which are
Pillow's: a triangle, or Keys' cubic with a = -0.5, stretched where the image shrinks. A filter
is separable, so a crop is resized by a product with a weight matrix for its columns, then one for
its rows; a batch of crops by two batched products, whatever their sizes. As the kernel does,
values are rounded to whole steps of 255 after each of the two; that kernel's weights have 16 bits,
so a few values in a hundred at most differ from it by one step, hardly ever one by two (a test
holds the two together).
"""

from __future__ import annotations

import torch
from torch import Tensor


def resampled(
    pixels: Tensor, sides: Tensor, mirrored: Tensor, size: int, interpolation: str
) -> Tensor:
    """Crops at one size, some of them mirrored.

    Args:
        pixels: ``[n, rows, columns, 3]``, uint8: each crop in the upper left corner, and behind
            it whatever pixels, which do not count.
        sides: height and width of each crop ``[n, 2]``, int64, on the device of `pixels`.
        mirrored: which are ``[n]``, bool, on the device of `pixels`.
        size: of the result, pixels.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        ``[n, 3, size, size]``, float32, whole numbers 0-255; a view whose channels are not first
        in memory.
    """
    count, rows, columns = pixels.shape[:3]
    straight = torch.zeros_like(mirrored)
    # Under autocast the products would be bf16's, which has 8 bits for what needs more.
    with torch.autocast(pixels.device.type, enabled=False):
        across = filter_weights(sides[:, 1], columns, size, interpolation, mirrored)
        down = filter_weights(sides[:, 0], rows, size, interpolation, straight)
        lines = pixels.permute(0, 1, 3, 2).to(torch.float32, memory_format=torch.contiguous_format)
        narrow = torch.bmm(lines.view(count, rows * 3, columns), across.transpose(1, 2))
        _to_steps(narrow)
        small = torch.bmm(down, narrow.view(count, rows, 3 * size))
        _to_steps(small)
    return small.view(count, size, 3, size).permute(0, 2, 1, 3)


def filter_weights(
    sides: Tensor, longest: int, size: int, interpolation: str, mirrored: Tensor
) -> Tensor:
    """How much each pixel of a line counts for each pixel of the resized line.

    Args:
        sides: pixels of each line ``[n]``, int64.
        longest: number of columns of the result, at least every one of `sides`.
        size: pixels of each resized line.
        interpolation: ``bilinear`` or ``bicubic``.
        mirrored: which resized lines run backwards ``[n]``, bool.

    Returns:
        ``[n, size, longest]``, float32; every row sums to 1, columns behind a line's end are 0.
    """
    side = sides.to(torch.float32)[:, None, None]
    scale = side / size
    place = torch.arange(size, device=sides.device)
    place = torch.where(mirrored[:, None], size - 1 - place, place)[:, :, None]
    pixel = torch.arange(longest, device=sides.device) + 0.5
    # Where the image grows the filter keeps the width that it has between pixels.
    distance = ((pixel - (place + 0.5) * scale) / scale.clamp(min=1)).abs_()
    weights = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    weights.masked_fill_(pixel > side, 0)
    return weights.div_(weights.sum(2, keepdim=True))


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp_(min=0)


def _cubic(x: Tensor) -> Tensor:
    # Keys 1981, "Cubic convolution interpolation for digital image processing", a = -0.5.
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _to_steps(values: Tensor) -> None:
    # Halves upwards, as the kernel's fixed-point arithmetic does.
    values.add_(0.5).floor_().clamp_(0, 255)
