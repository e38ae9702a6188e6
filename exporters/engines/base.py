"""What an engine is: something that turns an artifact into a session that runs batches.

An engine is one file with one class. It imports its library only inside ``available``
and ``compile``, so that a missing or broken library costs nothing to the others. This
module is imported inside workers of any interpreter: numpy and the standard library only.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparsebench.exporters.onnx.artifact import Artifact


@dataclass(frozen=True)
class Availability:
    """Whether an engine runs here, and what a user must know of it.

    Attributes:
        ok: it can be used on this machine.
        reason: why not, or an empty string.
        version: the library's version, or an empty string.
        licence: what its licence allows, in a few words.
        support: whether it is still maintained, in a few words.
        fix: what would make it available, or an empty string.
    """

    ok: bool
    reason: str = ""
    version: str = ""
    licence: str = ""
    support: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """A dictionary of the fields; the fix under its older key, `mend`."""
        fields = asdict(self)
        return {**fields, "mend": fields.pop("fix")}


@dataclass(frozen=True)
class CompileRequest:
    """The settings a session is compiled for.

    Attributes:
        batch_size: images per call; every call has exactly this many.
        threads: CPU threads the engine may use.
        precision: ``fp32``, ``bf16``, ``int8``, or ``2:4`` (bf16 in that pattern, on a GPU).
        device: ``cpu`` or ``cuda``.
        options: engine-specific extras, recorded as they are.
    """

    batch_size: int
    threads: int
    precision: str = "fp32"
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerTime:
    """What an engine tells of one of its steps.

    Attributes:
        values: ONNX values that the step computes, or the module's name, as far as the engine
            names them.
        kind: the engine's own word for the operation.
        seconds: of one call, the median over calls (the mean where only that is told).
        sparse: whether the step skips zeros; None where the engine does not tell.
        peak: share of the processor's peak of multiply-adds that it reaches, 0-1; None: not told.
    """

    values: tuple[str, ...]
    kind: str
    seconds: float
    sparse: bool | None = None
    peak: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of the fields."""
        return asdict(self)


class EngineError(Exception):
    """The engine cannot do what was asked; the message is the reason in the record."""


class UnfitNetworkError(EngineError):
    """It has no kernels for networks of this kind in this precision, on any machine."""


class Session(Protocol):
    """A compiled backbone."""

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features or logits ``[N, D]`` of a full batch ``[N, 3, H, W]``, both float32."""
        ...

    def describe(self) -> dict[str, Any]:
        """What was compiled: ``threads`` read back, ``supported_fraction`` (0-1 or None), ISA."""
        ...


class Engine(Protocol):
    """What executes a backbone.

    Attributes:
        name: its name on the command line.
        environment: the separate environment its library lives in, or None for ours.
        devices: devices it can use.
        precisions: precisions it can use.
        reads: ``onnx`` or ``torch``, the part of an artifact that it needs.

    A class may also say ``licence`` and ``support`` in a few words, and with ``production``
    (True or False) whether that licence allows production: `sparsebench advise` asks. With
    ``int8_form`` it chooses the graph that it gets in INT8, ``"qdq"`` where it does not say
    (``exporters/onnx/quantise.py``). ``opset`` is the newest in which it executes networks well,
    any where it does not say; ``refusal(onnx, input_shape)`` returns why it cannot read a file,
    found without compiling it, or nothing: both decide who writes a network's file
    (``exporters/onnx/exporters.py``). One that
    can tell the time of each layer has a method ``profile(artifact, request, images, calls)``
    that returns a list of :class:`LayerTime`, or its session has ``profile(images, calls)``:
    `sparsebench inspect --why` asks.
    """

    name: str
    environment: str | None
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    reads: str

    def available(self) -> Availability:
        """Whether it runs here; never raises."""
        ...

    def compile(self, artifact: Artifact, request: CompileRequest) -> Session:
        """Prepare a session; all compiling happens here, none inside ``run``.

        Raises:
            EngineError: this artifact or this setting is not supported.
        """
        ...


def library_available(
    engine: Any, module: str, name: str, install: str | None = None
) -> Availability:
    """Whether an engine's library imports.

    Args:
        engine: whose library it is, with `licence` and `support`.
        module: what is imported; it tells its ``__version__``.
        name: of the library in a sentence.
        install: command that installs it; None for the usual one.
    """
    try:
        version = str(importlib.import_module(module).__version__)
    except BaseException as error:
        from sparsebench.models.installing import install_command

        return library_failed(name, error, install or install_command(module))
    return Availability(True, version=version, licence=engine.licence, support=engine.support)


def library_failed(name: str, error: BaseException, install: str) -> Availability:
    """The availability of an engine whose library did not import."""
    if isinstance(error, ModuleNotFoundError):
        reason = f"{name} is not installed ({error.name} not found)."
        return Availability(False, reason, fix=install)
    reason = f"{name} is installed but does not import: {type(error).__name__}: {error}"
    return Availability(False, reason, fix=f"Reinstall it: {install}")
