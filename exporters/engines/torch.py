"""PyTorch eager, on CPU or CUDA: the baseline everyone has.

Unstructured zeros gain nothing here; that null result is a result.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sparsebench.exporters.engines.base import (
    Availability,
    CompileRequest,
    EngineError,
    LayerTime,
    library_available,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from sparsebench.exporters.onnx.artifact import Artifact

PATTERN = "2:4"
LAYOUTS = ("contiguous", "channels_last")


class TorchEngine:
    """``nn.Module.__call__`` under ``torch.inference_mode``.

    The precision ``2:4`` is bf16 with layers of that pattern on a GPU's sparse tensor cores
    (:mod:`sparsebench.exporters.engines.semi_structured`).

    Option ``layout``: ``contiguous``, ``channels_last`` or ``auto`` (default: both are
    tried while compiling, the faster one is kept and named in ``describe``).
    """

    name = "torch"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    precisions: tuple[str, ...] = ("fp32", "bf16", "2:4")
    reads = "torch"
    licence, support, production = "BSD-3", "maintained", True

    def available(self) -> Availability:
        """Imports the library."""
        return library_available(self, "torch", "PyTorch")

    def compile(self, artifact: Artifact, request: CompileRequest) -> TorchSession:
        """Build the module, move it to the device, choose its memory layout."""
        return build_session(artifact, request, lambda module: module)


def build_session(
    artifact: Artifact,
    request: CompileRequest,
    transform: Callable[[torch.nn.Module], Callable[[torch.Tensor], torch.Tensor]],
) -> TorchSession:
    """The session shared by eager and compiled execution.

    Args:
        artifact: must carry ``torch_builder``.
        request: settings; ``options["layout"]`` as in :class:`TorchEngine`.
        transform: turns the module into what is called (``torch.compile`` or nothing).

    Raises:
        EngineError: no module behind the artifact, no CUDA, unknown layout.
    """
    import torch

    if artifact.torch_builder is None:
        raise EngineError("a bare ONNX file has no PyTorch module; use an ONNX engine")
    if request.device == "cuda" and not torch.cuda.is_available():
        raise EngineError("this machine has no CUDA device that PyTorch can use")
    pattern = request.precision == PATTERN
    if pattern and request.device != "cuda":
        raise EngineError("2:4 weights are multiplied on a GPU only")
    torch.set_num_threads(request.threads)
    # By default cuDNN shortens the factors of an fp32 convolution to 10 bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    module_name, _, attribute = artifact.torch_builder.partition(":")
    builder = getattr(__import__(module_name, fromlist=[attribute]), attribute)
    whole: torch.nn.Module = builder(artifact).eval()
    module = folded(whole, artifact.input_shape).to(request.device)
    told: dict[str, str] = {}
    if pattern:
        from sparsebench.exporters.engines.semi_structured import use_pattern

        told = use_pattern(module.to(torch.bfloat16))
    layout = str(request.options.get("layout", "auto"))
    if layout not in (*LAYOUTS, "auto"):
        raise EngineError(f"unknown layout '{layout}'; known: auto, " + ", ".join(LAYOUTS))
    sessions = {
        name: TorchSession(module, transform, request, name, told)
        for name in (LAYOUTS if layout == "auto" else (layout,))
    }
    if len(sessions) == 1:
        return sessions[layout]
    return sessions[_fastest(sessions, artifact, request)]


def folded(module: torch.nn.Module, shape: tuple[int, int, int]) -> torch.nn.Module:
    """The network with batch norm folded into its convolutions: an eager one is 12 % faster so.

    Args:
        module: in eval mode, on the CPU.
        shape: of an image.

    Returns:
        The module itself where its code cannot be traced, or folding computes something else (a
        convolution that two batch norms follow).
    """
    import torch
    from torch.fx.experimental.optimization import fuse

    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    try:
        fused: torch.nn.Module = fuse(module)  # outside: weights made inside could not be changed
        with torch.inference_mode():
            expected, found = module(image), fused(image)
    except Exception:  # code of any network; each may fail in its own way
        return module
    return fused if torch.allclose(found, expected, rtol=1e-3, atol=1e-4) else module


def _fastest(sessions: dict[str, TorchSession], artifact: Artifact, request: CompileRequest) -> str:
    """Name of the layout with the lowest best-of-three time, tried alternately."""
    import numpy as np

    images = np.random.default_rng(0).standard_normal(
        (request.batch_size, *artifact.input_shape), dtype=np.float32
    )
    best = dict.fromkeys(sessions, float("inf"))
    for _ in range(3):
        for name, session in sessions.items():
            session.prepare()
            session.run(images)
            start = time.perf_counter()
            session.run(images)
            best[name] = min(best[name], time.perf_counter() - start)
    winner = min(best, key=lambda name: best[name])
    sessions[winner].prepare()
    return winner


class TorchSession:
    """A module, what calls it, and the memory layout it is called in."""

    def __init__(
        self,
        module: torch.nn.Module,
        transform: Callable[[torch.nn.Module], Callable[[torch.Tensor], torch.Tensor]],
        request: CompileRequest,
        layout: str,
        pattern: dict[str, str] | None = None,
    ) -> None:
        import torch

        self._torch, self._pattern = torch, pattern or {}
        self._module = module
        self._layout = layout
        self._format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self._dtype = torch.float32 if request.precision == "fp32" else torch.bfloat16
        self._device = request.device
        kinds = (type(one).__name__ for one in module.modules())
        self._folded = not any(kind.startswith("BatchNorm") for kind in kinds)
        self.prepare()
        self._call = transform(module)

    def prepare(self) -> None:
        """Put the (shared) module into this session's layout and precision."""
        # nn.Module.to() applies a memory format to 4-d parameters only, as wanted; compressed
        # matrices cannot be cast, and what is to be in 16 bits with them is already.
        if self._pattern:
            for parameter in self._module.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=self._format)
            return
        self._module.to(dtype=self._dtype, memory_format=self._format)  # type: ignore[call-overload]

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One forward pass, copies to and from the device included."""
        torch = self._torch
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(
                self._device, dtype=self._dtype, memory_format=self._format
            )
            output: NDArray[np.float32] = self._call(batch).float().cpu().numpy()
        return output

    def profile(self, images: NDArray[np.float32], calls: int) -> list[LayerTime] | None:
        """Median seconds of each module without children, in the order they run.

        Eager PyTorch calls them one after another; a compiled graph has no modules: None.
        """
        if self._call is not self._module:
            return None
        times: dict[str, list[float]] = {}
        kinds: dict[str, str] = {}
        started: dict[str, float] = {}

        def clock() -> float:
            if self._device == "cuda":
                self._torch.cuda.synchronize()
            return time.perf_counter()

        def before(name: str) -> Callable[..., None]:
            return lambda *_: started.__setitem__(name, clock())

        def after(name: str) -> Callable[..., None]:
            return lambda *_: times.setdefault(name, []).append(clock() - started[name])

        hooks = []
        for name, module in self._module.named_modules():
            if not list(module.children()):
                kinds[name] = type(module).__name__
                hooks.append(module.register_forward_pre_hook(before(name)))
                hooks.append(module.register_forward_hook(after(name)))
        try:
            for _ in range(calls + 1):
                self.run(images)
        finally:
            for hook in hooks:
                hook.remove()
        # A module that is called twice (a shared ReLU) counts with both.
        return [
            LayerTime((name,), kinds[name], statistics.median(seconds) * (len(seconds) // calls))
            for name, seconds in times.items()
        ]

    def describe(self) -> dict[str, Any]:
        """Threads read back, layout, and the matrix settings that change results."""
        torch = self._torch
        facts: dict[str, Any] = {
            "threads": int(torch.get_num_threads()),
            "supported_fraction": 1.0,
            "layout": self._layout,
            "batch_norm": "folded" if self._folded else "as it is",
        }
        if self._pattern:
            facts["two_of_four"] = [name for name, why in self._pattern.items() if not why]
            facts["not_two_of_four"] = {n: why for n, why in self._pattern.items() if why}
        if self._device == "cuda":
            facts["gpu"] = torch.cuda.get_device_name()
            facts["tf32"] = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        return facts
