"""Convolutions over small planes as matrix products, for training.

oneDNN's convolutions are slow on planes of a few pixels, their gradients of weights most of all:
512 channels, 2x2 pixels, 64 images in bf16 take 69 ms on a core of Emerald Rapids, and 4.3 as one
matrix product of the same numbers (PyTorch 2.15). Networks for small images end in such planes.
Copying each output's window side by side (im2col) costs little there, for a plane is small.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Output pixels of an image up to which a product is faster, on a core of Emerald Rapids in bf16:
# forward and gradient of the input at 5x5 (1.1 ms, and 1.0 with 128 channels) but not at 6x6
# (0.8), gradient of the weights at 8x8 (1.4 with 128 channels) but not at 10x10 (0.9).
_ALL, _WEIGHTS = 25, 64


class SmallPlaneConv2d(nn.Conv2d):
    """A convolution that takes the form of a matrix product wherever its output is small."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, padding = self.stride[0], int(self.padding[0])
        height, width = _output_sides(input, self.kernel_size[0], stride, padding)
        if height * width > _WEIGHTS or not self.training:
            ordinary: Tensor = super()._conv_forward(input, weight, bias)
            return ordinary
        if torch.is_autocast_enabled(input.device.type):
            precision = torch.get_autocast_dtype(input.device.type)
            input, weight = input.to(precision), weight.to(precision)
            bias = None if bias is None else bias.to(precision)
        whole = height * width <= _ALL
        output: Tensor = _convolution(input, weight, stride, padding, whole)
        return output if bias is None else output + bias[:, None, None]


def use_matrix_products(module: nn.Module) -> int:
    """Let convolutions of `module` run as matrix products where their planes are small.

    Changed in place; parameters and their names stay. Convolutions in groups, with dilation, of
    unequal sides or of another class stay as they are.

    Returns:
        How many were changed.
    """
    convolutions = _simple(module)
    for one in convolutions:
        one.__class__ = SmallPlaneConv2d
    return len(convolutions)


def has_products(module: nn.Module) -> bool:
    """Whether :func:`use_matrix_products` would change any convolution."""
    return bool(_simple(module))


def products_pay(bf16: bool) -> bool:
    """Whether a training that nobody has tried out runs faster with products here.

    Seen in bf16 on a processor with a matrix unit (AMX), and not tried elsewhere. A rule and no
    trial, for a training that goes on after an interrupt must compute as it did before.
    """
    has_matrix_unit = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bf16 and bool(has_matrix_unit())


def _simple(module: nn.Module) -> list[nn.Conv2d]:
    return [
        one
        for one in module.modules()
        if type(one) is nn.Conv2d
        and (one.groups, one.dilation, one.padding_mode) == (1, (1, 1), "zeros")
        and not isinstance(one.padding, str)
        and all(len(set(pair)) == 1 for pair in (one.kernel_size, one.stride, one.padding))
    ]


@torch.library.custom_op("sparsebench::small_plane_convolution", mutates_args=())
def _convolution(images: Tensor, weight: Tensor, stride: int, padding: int, whole: bool) -> Tensor:
    """Images ``[N, C, H, W]``, weight ``[O, C, K, K]`` -> ``[N, O, h, w]``, all of one dtype.

    An operator of its own, for ``torch.compile`` would take minutes to fuse its pieces. The
    gradient of the weights is a product; all else is where `whole` says so.
    """
    if not whole:
        return functional.conv2d(images, weight, None, stride, padding)
    products = _windows(images, weight.shape[-1], stride, padding) @ _rows(weight).t()
    return _planes(products, images, weight, stride, padding)


@_convolution.register_fake
def _(images: Tensor, weight: Tensor, stride: int, padding: int, whole: bool) -> Tensor:
    height, width = _output_sides(images, weight.shape[-1], stride, padding)
    shape = (len(images), len(weight), height, width)
    return images.new_empty(shape).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("sparsebench::small_plane_gradients", mutates_args=())
def _gradients(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    whole: bool,
    wanted: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of the images (empty if not `wanted`) and of the weight."""
    outputs, channels, kernel, _ = weight.shape
    pixels = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    rows = pixels.t() @ _windows(images, kernel, stride, padding)
    of_weight = rows.view(outputs, kernel, kernel, channels).permute(0, 3, 1, 2)
    if not wanted:
        return images.new_empty(0), of_weight
    if whole:
        return _of_images(pixels, gradient, images, weight, stride, padding), of_weight
    form = [stride, stride], [padding, padding], [1, 1], False, [0, 0], 1
    of_images = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, *form, [True, False, False]
    )[0]
    return of_images.contiguous(memory_format=torch.channels_last), of_weight


@_gradients.register_fake
def _(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    whole: bool,
    wanted: bool,
) -> tuple[Tensor, Tensor]:
    of_weight = torch.empty_like(weight, memory_format=torch.channels_last)
    if not wanted:
        return images.new_empty(0), of_weight
    return torch.empty_like(images, memory_format=torch.channels_last), of_weight


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    images, weight, *ctx.form = inputs
    ctx.save_for_backward(images, weight)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[0]
    of_images, of_weight = _gradients(gradient, *ctx.saved_tensors, *ctx.form, wanted)
    return of_images if wanted else None, of_weight, None, None, None


_convolution.register_autograd(_backward, setup_context=_keep)


def _output_sides(images: Tensor, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in images.shape[2:])
    return height, width


def _windows(planes: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """``[N, C, H, W]`` -> ``[N * outputs, kernel * kernel * C]``, the window of each output."""
    pixels = planes.permute(0, 2, 3, 1)
    if padding:
        pixels = functional.pad(pixels, (0, 0, padding, padding, padding, padding))
    windows = pixels.unfold(1, kernel, stride).unfold(2, kernel, stride)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * planes.shape[1])


def _rows(weight: Tensor) -> Tensor:
    """``[O, C, K, K]`` -> ``[O, K * K * C]``, a view in channels-last format."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _planes(products: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """``[N * h * w, O]`` -> ``[N, O, h, w]`` in channels-last format."""
    height, width = _output_sides(images, weight.shape[-1], stride, padding)
    return products.view(len(images), height, width, len(weight)).permute(0, 3, 1, 2)


def _of_images(
    pixels: Tensor, gradient: Tensor, images: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    """Each output's gradient times the weights, added to the pixels of its window."""
    count, channels, height, width = images.shape
    kernel = weight.shape[-1]
    rows, columns = gradient.shape[2:]
    windows = (pixels @ _rows(weight)).view(count, rows, columns, kernel, kernel, channels)
    summed = gradient.new_zeros((count, height + 2 * padding, width + 2 * padding, channels))
    for y in range(kernel):
        for x in range(kernel):
            down = slice(y, y + stride * (rows - 1) + 1, stride)
            right = slice(x, x + stride * (columns - 1) + 1, stride)
            summed[:, down, right] += windows[:, :, :, y, x]
    inner = summed[:, padding : padding + height, padding : padding + width]
    return inner.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
