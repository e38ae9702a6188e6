"""PyTorch through ``torch.compile`` (Inductor with weights frozen into the graph)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sparsebench.exporters.engines.base import Availability, CompileRequest
from sparsebench.exporters.engines.torch import TorchEngine, TorchSession, build_session

if TYPE_CHECKING:
    from sparsebench.exporters.onnx.artifact import Artifact


class TorchCompileEngine:
    """As :class:`TorchEngine`, compiled; needs a C++ compiler on the CPU."""

    name = "torch-compile"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu", "cuda")
    precisions: tuple[str, ...] = ("fp32", "bf16")
    reads = "torch"
    licence, support, production = "BSD-3", "maintained", True

    def available(self) -> Availability:
        """PyTorch itself, and the compiler that Inductor calls."""
        found = TorchEngine().available()
        if found.ok and not (shutil.which("g++") or shutil.which("clang++")):
            return Availability(
                False,
                "torch.compile needs a C++ compiler and none is on the PATH.",
                version=found.version,
                fix="Install g++ (Debian: apt-get install g++).",
            )
        return found

    def compile(self, artifact: Artifact, request: CompileRequest) -> TorchSession:
        """Compile and call once, so that nothing compiles inside the clock."""
        import numpy as np
        import torch
        import torch._inductor.config as inductor

        inductor.freezing = True
        options = {"layout": "channels_last", **request.options}
        request = CompileRequest(
            request.batch_size, request.threads, request.precision, request.device, options
        )
        session = build_session(
            artifact, request, lambda module: torch.compile(module, dynamic=False)
        )
        session.run(np.zeros((request.batch_size, *artifact.input_shape), np.float32))
        return session
