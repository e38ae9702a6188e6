"""Our convolution against SparseProp's, layer by layer:
``python -m sparsebench.results.scripts.published``.

The layers of a ResNet-18, forward and both gradients, in turns within one process; both sides
have their activations in the layout they want, so that neither pays for conversions.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sparsebench.exporters.kernels.compiled.build import (
    FLAGS,
    FLAGS_OF_ISA,
    chosen_isa,
    find_compiler,
)
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.training.convolution import Convolution
from sparsebench.exporters.kernels.training.functional import to_blocked

# (channels in, out, kernel, stride, side of the input at 64 px)
LAYERS = (
    (64, 64, 3, 1, 16),
    (64, 128, 3, 2, 16),
    (128, 128, 3, 1, 8),
    (128, 256, 3, 2, 8),
    (256, 256, 3, 1, 4),
    (256, 512, 3, 2, 4),
    (512, 512, 3, 1, 2),
    (64, 128, 1, 2, 16),
    (256, 64, 1, 1, 16),
    (512, 2048, 1, 1, 2),
)
Run = Callable[[], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in "nioxyuvksp"),
        ("first", ctypes.c_void_p),
        ("taps", ctypes.c_void_p),
    )


def compiled(folder: str, isa: str) -> ctypes.CDLL:
    """The rival's loops, with the flags of our own kernels and -O3."""
    target = Path(folder) / "published.so"
    source = Path(__file__).with_suffix(".cpp")
    compiler = find_compiler()
    assert compiler is not None
    flags = (*FLAGS, "-O3", *FLAGS_OF_ISA[isa], "-shared")
    subprocess.run([*compiler, *flags, str(source), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def contestants(
    shape: tuple[int, int, int, int, int],
    scale: int,
    batch: int,
    sparsity: float,
    threads: int,
    rival: ctypes.CDLL,
) -> tuple[Run, Run]:
    """(ours, theirs): forward and backward; they return y and both gradients."""
    c, o, k, stride, side = shape
    side *= scale
    generator = torch.Generator().manual_seed(0)
    geometry = Geometry(o, c, (k, k), (stride, stride), (k // 2,) * 4)
    kept = torch.rand(geometry.weight_shape, generator=generator) >= sparsity
    values = torch.randn(int(kept.sum()), generator=generator)
    images = torch.randn(batch, c, side, side, generator=generator)
    height, width = geometry.output_size(side, side)
    upstream = torch.randn(batch, o, height, width, generator=generator)

    kernels = library()
    layer = Convolution(kept.numpy(), geometry, kernels, threads)
    x, inp = to_blocked(images, kernels, threads)
    gy, out = to_blocked(upstream, kernels, threads)
    y, gx = torch.empty(out.numel), torch.empty(inp.numel)

    def ours() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        layer.forward(inp, x, values, y)
        return y, gx, layer.backward(inp, x, values, gy, gx)

    counts = kept.reshape(o * c, k * k).sum(1).numpy()
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    taps = np.nonzero(kept.reshape(o * c, k * k).numpy())[1].astype(np.int32)
    call = _Layer(batch, c, o, side, side, height, width, k, stride, k // 2)
    call.first, call.taps = first.ctypes.data, taps.ctypes.data
    theirs_x = _aligned(images.permute(1, 2, 3, 0))
    theirs_gy = _aligned(upstream.permute(1, 2, 3, 0))
    theirs_y, theirs_gx = _aligned(theirs_gy), _aligned(theirs_x)
    gw = torch.empty_like(values)

    def theirs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        assert first.size and taps.size
        pointers = [
            ctypes.c_void_p(t.data_ptr())
            for t in (theirs_x, values, theirs_y, theirs_gy, theirs_gx, gw)
        ]
        px, pw, py, pgy, pgx, pgw = pointers
        rival.published_forward(ctypes.byref(call), px, pw, py, threads)
        rival.published_backward(ctypes.byref(call), px, pw, pgy, pgx, pgw, threads)
        return theirs_y, theirs_gx, gw

    return ours, theirs


def _aligned(values: torch.Tensor) -> torch.Tensor:
    """A contiguous copy at a multiple of 64 bytes."""
    room = torch.empty(values.numel() + 16)
    first = -room.data_ptr() % 64 // 4
    found = room[first : first + values.numel()].view(values.shape)
    found.copy_(values)
    return found


def main() -> None:
    """Parse the command line, measure, print one JSON line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.9])
    parser.add_argument("--scale", type=int, default=1, help="1: planes at 64 px, 2: at 128 px")
    parser.add_argument("--batch", type=int, default=64, help="a multiple of 16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--isa", choices=FLAGS_OF_ISA, default=chosen_isa(), help="SparseProp's; published: avx2"
    )
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rival = compiled(folder, options.isa)
        for sparsity in options.sparsity:
            for shape in LAYERS:
                sides = contestants(
                    shape, options.scale, options.batch, sparsity, options.threads, rival
                )
                mine, other = (side()[2] for side in sides)
                assert torch.allclose(mine, other, rtol=1e-3, atol=1e-2), shape
                times: list[list[float]] = [[], []]
                for turn in range(options.rounds):
                    for which in (0, 1) if turn % 2 else (1, 0):
                        start = time.perf_counter()
                        sides[which]()
                        times[which].append(time.perf_counter() - start)
                ours, theirs = (statistics.median(t) * 1e3 for t in times)
                name = f"{shape[0]}->{shape[1]} {shape[2]}x{shape[2]} stride {shape[3]}"
                line = {
                    "layer": f"{name}, {shape[4] * options.scale} px",
                    "sparsity": sparsity,
                    "ours_ms": round(ours, 2),
                    "sparseprop_ms": round(theirs, 2),
                    "speedup": round(theirs / ours, 2),
                }
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
