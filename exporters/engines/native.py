"""The suite's own kernels: sparse convolutions and linear layers whose zeros cost nothing.

Fed from the same ONNX file as the other engines. With AVX-512 the layers are machine code
generated for their patterns, else compiled kernels read the patterns. INT8 and bf16 are generated
code alone, for convolutional networks: INT8 on processors with VNNI, bf16 (which stores what
convolutions read; sums are float32) on those with AVX-512. Compiled for one batch size.
Plain convolutional networks take multiples of a vector register's lanes (16 images with AVX-512) in
groups that grow along the network, and the few images that are left in a layout of their own. All
others (detectors, transformers, ConvNeXt, squeeze-and-excite) take an image a lane throughout, and
a batch smaller than the lanes costs as much as a full one; but half as many images or fewer run one
by one with their pixels side by side, where the network keeps to whole planes, as detectors do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparsebench.exporters.engines.base import (
    Availability,
    CompileRequest,
    EngineError,
    LayerTime,
    UnfitNetworkError,
    library_failed,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sparsebench.exporters.kernels.inference.split import SplitNetwork
    from sparsebench.exporters.kernels.lanes.layer_network import LayerNetwork
    from sparsebench.exporters.onnx.artifact import Artifact

VERSION = "2"


class _Precisions:
    """What it computes in on this machine; found out when somebody asks."""

    def __get__(self, engine: object, kind: type) -> tuple[str, ...]:
        try:
            from sparsebench.exporters.kernels.compiled.build import chosen_isa
            from sparsebench.exporters.kernels.generated.memory import (
                no_bytes,
                no_pairs_of_channels,
            )

            isa = chosen_isa()
            refused = {"bf16": no_pairs_of_channels(isa), "int8": no_bytes(isa)}
            return ("fp32", *(precision for precision, why in refused.items() if not why))
        except Exception:  # `available` says what is wrong
            return ("fp32",)


class _Trains:
    """What it trains in on this machine; found out when somebody asks."""

    def __get__(self, engine: object, kind: type) -> tuple[str, ...]:
        try:
            from sparsebench.exporters.kernels.compiled.build import chosen_isa
            from sparsebench.exporters.kernels.generated.memory import no_pairs

            return ("fp32",) if no_pairs(chosen_isa(), "float32") else ("fp32", "bf16")
        except Exception:  # `available` says what is wrong
            return ("fp32",)


class NativeEngine:
    """``sparsebench.exporters.kernels`` on the CPU, fp32; bf16 where there is AVX-512, INT8 where
    there is VNNI; for training bf16 where there are instructions for it."""

    name = "native"
    environment: str | None = None
    devices: tuple[str, ...] = ("cpu",)
    precisions = _Precisions()
    training_precisions = _Trains()
    # SiLU and joined maps, of YOLOv3 and YOLOv5, have kernels in fp32 alone.
    precisions_without_yolo = ("bf16", "int8")
    int8_form = "integer"
    reads = "onnx"
    licence, support, production = "Apache-2.0", "maintained here", True

    def available(self) -> Availability:
        """A C++ compiler must be there, or kernels that were compiled before.

        Compiling happens when a session is compiled.
        """
        try:
            from sparsebench.exporters.kernels.compiled.build import (
                chosen_isa,
                find_built,
                find_compiler,
            )
            from sparsebench.models.errors import SparsebenchError
        except Exception as error:
            from sparsebench.models.installing import install_command

            return library_failed("The native engine", error, install_command("sparsebench"))
        try:
            isa = chosen_isa()
            usable = find_compiler() is not None or find_built(isa, "float32") is not None
        except SparsebenchError as error:  # a setting, not the installation
            return Availability(False, error.cause, version=VERSION, fix=error.fix)
        if not usable:
            return Availability(
                False,
                "The native engine needs a C++ compiler and none is on the PATH.",
                version=VERSION,
                fix="Install g++ (Debian: apt-get install g++) or clang++.",
            )
        return Availability(
            True, version=f"{VERSION}-{isa}", licence=self.licence, support=self.support
        )

    def refusal(self, onnx: str, input_shape: tuple[int, int, int]) -> str:
        """Why it cannot read a file, or nothing: its readers alone, nothing is compiled."""
        from sparsebench.exporters.kernels.inference.onnx_nodes import UnsupportedOnnxError
        from sparsebench.exporters.kernels.inference.onnx_reader import read_onnx
        from sparsebench.exporters.kernels.lanes.reader import read_lanes

        for read in (read_onnx, read_lanes):
            try:
                read(onnx, input_shape)
                return ""
            except UnsupportedOnnxError as error:
                said = str(error)
            except Exception as error:  # protobuf raises its own classes
                said = f"{type(error).__name__}: {error}"
        return said

    def compile(self, artifact: Artifact, request: CompileRequest) -> NativeSession:
        """Read the ONNX file, compile the kernels if need be, lay out the patterns.

        Option ``isa``: ``avx512``, ``avx2`` or ``portable`` instead of the best. Option
        ``generate``: false for the compiled kernels where code could be generated. INT8 and bf16
        run as generated code alone, of convolutional networks; INT8 in the form that ``int8_form``
        names.
        """
        from sparsebench.exporters.kernels.compiled.library import library
        from sparsebench.exporters.kernels.inference.byte_reader import read_bytes
        from sparsebench.exporters.kernels.inference.onnx_nodes import UnsupportedOnnxError
        from sparsebench.exporters.kernels.inference.onnx_reader import read_onnx
        from sparsebench.exporters.kernels.inference.pair_network import read_pairs
        from sparsebench.exporters.kernels.inference.split import SplitNetwork
        from sparsebench.exporters.kernels.lanes.library import lane_library
        from sparsebench.exporters.kernels.lanes.reader import read_lanes
        from sparsebench.exporters.kernels.lines.choice import any_network
        from sparsebench.models.errors import SparsebenchError

        isa = request.options.get("isa")
        try:
            kernels = library("float32", None if isa is None else str(isa))
        except SparsebenchError as error:
            raise EngineError(f"the native engine has no kernels: {error}") from error
        generated = bool(request.options.get("generate", True))
        shape = artifact.input_shape
        compiled: SplitNetwork | LayerNetwork
        try:
            try:
                read = {"int8": read_bytes, "bf16": read_pairs}.get(request.precision, read_onnx)
                network = read(artifact.onnx, shape)
            except UnsupportedOnnxError as error:
                if request.precision != "fp32":
                    named = {"int8": "INT8"}.get(request.precision, request.precision)
                    raise UnfitNetworkError(
                        "the native engine runs plain convolutional networks alone in "
                        f"{named}: {error}"
                    ) from error
                compiled = any_network(
                    read_lanes(artifact.onnx, shape),
                    request.batch_size,
                    shape,
                    lane_library(kernels.isa),
                    request.threads,
                    generated,
                )
            else:
                compiled = SplitNetwork(
                    network, request.batch_size, shape, kernels, request.threads, generated
                )
        except EngineError:
            raise
        except (UnsupportedOnnxError, SparsebenchError) as error:
            raise EngineError(f"the native engine cannot run this network: {error}") from error
        except Exception as error:  # protobuf raises its own classes
            said = f"{type(error).__name__}: {error}"
            raise EngineError(f"the native engine could not load the network: {said}") from error
        return NativeSession(compiled)


class NativeSession:
    """One compiled network."""

    def __init__(self, compiled: SplitNetwork | LayerNetwork) -> None:
        self._compiled = compiled

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """One forward pass.

        Raises:
            SparsebenchError: not the images that it is compiled for.
        """
        return self._compiled.run(images)

    def profile(self, images: NDArray[np.float32], calls: int) -> list[LayerTime]:
        """Median seconds of its steps, by a clock around each; convolutions skip every zero.

        A layer's kind is the path of its code, as in :meth:`describe`. Its share of the peak is
        told where code can be generated, because only such code measures the peak.
        """
        import statistics
        from collections import defaultdict

        rounds: list[dict[tuple[str, str], float]] = []
        for _ in range(calls):
            rounds.append(defaultdict(float))

            def tell(name: str, kind: str, seconds: float) -> None:
                rounds[-1][name, kind] += seconds

            self._compiled.run(images, tell)
        best = self._compiled.peak_seconds()
        found = []
        for name, kind in rounds[0]:
            seconds = statistics.median(spent[name, kind] for spent in rounds)
            count = self._compiled.multiply_adds.get((name, kind))
            found.append(
                LayerTime(
                    (name,) if name else (),
                    kind,
                    seconds,
                    sparse=count is not None,
                    peak=count * best / seconds if count and best and seconds else None,
                )
            )
        return found

    def describe(self) -> dict[str, Any]:
        """Threads, instruction set, and which code runs each layer on which part of a batch.

        ``layers``: ``generated`` for the pattern, or the ``compiled`` kernels that read it, on
        blocks of images; ``pixels`` for the compiled kernels of small batches. ``why``: no code
        was generated where it could be wanted, or few images take ``lanes`` and not ``lines``.
        ``fours_share``, in INT8: the share of the fours of weights that are multiplied, because
        one of them is not zero. ``bf16_layers``, in bf16: how many of the layers read or write
        what is stored so; the others are those of fp32.
        """
        kernels, paths = self._compiled.kernels, self._compiled.paths
        share = getattr(self._compiled, "fours_share", None)
        lower = {
            "fours_share": None if share is None else round(share, 4),
            "bf16_layers": getattr(self._compiled, "bf16_layers", None),
        }
        return {
            "threads": self._compiled.threads,
            "supported_fraction": 1.0,
            "isa": kernels.isa,
            "lanes": kernels.lanes,
            "parts": [{"pictures": n, "layout": kind} for n, kind in self._compiled.parts],
            "layers": dict.fromkeys(self._compiled.layers, "+".join(dict.fromkeys(paths))),
            "code_bytes": self._compiled.code_bytes,
            "why": self._compiled.why_not,
        } | {key: value for key, value in lower.items() if value is not None}
