"""A user's own ONNX graph, run by ONNX Runtime without a change to it: the reference.

Graphs come from anybody, so a run is bounded: in memory by the arena that all sessions here
share, in time by a clock that stops it between two nodes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.graph import OnnxFile
from sparsebench.models.onnx_file.input import LARGEST_INPUT
from sparsebench.models.onnx_file.walks import ancestors, reads

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]
Begin = tuple[int, Sequence[int | str]]
"""Element type (``TensorProto``) and shape of a tensor; words are free axes."""
CHUNK = 32
_USUAL_SIDE = 224
# One call may take as long, and what all sessions here compute together as much memory; their
# weights, which are as large as the file says, come on top.
MOST_SECONDS = 300.0
MOST_BYTES = 4 * 2**30


class OwnGraph:
    """The whole graph as its author left it; inner tensors are read out beside its outputs.

    Args:
        file: opened file.
        names: tensors to read out.

    Raises:
        SparsebenchError: ONNX Runtime does not load it.
    """

    def __init__(self, file: OnnxFile, names: Sequence[str]) -> None:
        import onnx

        self._file = file
        self._names = list(names)
        model = onnx.ModelProto()
        model.CopyFrom(file.model)
        outputs = {output.name for output in model.graph.output}
        for name in dict.fromkeys(names):
            if name not in outputs:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
        self._session = session_of(model, file.path)

    def run(self, images: Array, *, together: int | None = None) -> list[NDArray[Any]]:
        """The tensors for images ``[n, 3, H, W]``, pieces put together along their first axis.

        A file that fixes its batch size gets pieces of it, the last one filled up.

        Args:
            images: float32.
            together: images in one call of a file with a free batch size; about 32 by default.

        Raises:
            SparsebenchError: ONNX Runtime fails on them.
        """
        few = max(1, CHUNK * _USUAL_SIDE**2 // max(images.shape[-1], _USUAL_SIDE) ** 2)
        step = self._file.batch or together or few
        pieces: list[list[NDArray[Any]]] = []
        for start in range(0, len(images), step):
            piece = images[start : start + step]
            kept = len(piece)
            if self._file.batch and kept < step:
                piece = np.concatenate([piece, np.repeat(piece[:1], step - kept, 0)])
            outputs = run_session(self._session, self._names, piece, self._file.path)
            pieces.append([array if len(array) != step else array[:kept] for array in outputs])
        return [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]

    def once(self, side: int) -> list[NDArray[Any]]:
        """The tensors for one batch of black images (1, or the file's own size).

        Raises:
            SparsebenchError: images of this side are too many values, or it fails on them.
        """
        count = self._file.batch or 1
        if count * 3 * side * side > LARGEST_INPUT:
            raise SparsebenchError(
                f"{count} images of {side} px are more than {LARGEST_INPUT:.2g} values.",
                "Take a smaller --size.",
            )
        images = np.zeros((count, 3, side, side), np.float32)
        return run_session(self._session, self._names, images, self._file.path)

    def shapes(self, side: int) -> list[tuple[int, ...]]:
        """Shapes of what :meth:`once` gives."""
        return [tuple(array.shape) for array in self.once(side)]


def session_of(model: onnx.ModelProto, path: Path) -> Any:
    """A session that computes every node as it stands, within :data:`MOST_BYTES`.

    Raises:
        SparsebenchError: ONNX Runtime does not load the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Threads that spin after a call would disturb what is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no base class of their own
        raise SparsebenchError(
            f"ONNX Runtime does not load '{path}': {_first_line(error)}",
            "Is it damaged, or does it need operators of its own?",
        ) from None


@cache
def _bound_memory() -> None:
    """One arena of a fixed size for all sessions of this process that ask for it."""
    import onnxruntime
    import psutil

    bound = min(MOST_BYTES, psutil.virtual_memory().total // 2)
    arena = onnxruntime.OrtArenaCfg({"max_mem": bound, "arena_extend_strategy": 1})
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(where, arena)


def run_session(
    session: Any, names: Sequence[str], images: Array, path: Path
) -> list[NDArray[Any]]:
    """One call with images as the only input; raises SparsebenchError where it fails."""
    return feed_session(session, names, {session.get_inputs()[0].name: images}, path)


def feed_session(
    session: Any, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], path: Path
) -> list[NDArray[Any]]:
    """One call; raises SparsebenchError where it fails, or takes too long or too much memory."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    late = threading.Timer(MOST_SECONDS, setattr, (options, "terminate", True))
    late.daemon = True
    late.start()
    try:
        found = session.run(list(names), dict(feeds), options)
    except Exception as error:
        first = next(iter(feeds.values()))
        what = f"'{path}' on {len(first)} images of {first.shape[-1]} px"
        if options.terminate:
            raise SparsebenchError(
                f"ONNX Runtime has not run {what} within {MOST_SECONDS:.0f} s.",
                "Take a smaller --size or --batch-size.",
            ) from None
        if "vailable memory of" in str(error) or isinstance(error, MemoryError):
            raise SparsebenchError(
                f"{what} needs more than {MOST_BYTES / 2**30:.0f} GiB, or half of this machine's "
                f"memory ({_node_of(error)}).",
                "Take a smaller --size, or export a network without such a large tensor.",
            ) from None
        raise SparsebenchError(
            f"ONNX Runtime does not run {what}: {_first_line(error)}",
            "Does it take another --size, or a batch size that its input does not declare?",
        ) from None
    finally:
        late.cancel()
    return [np.asarray(array) for array in found]


def part_of(file: OnnxFile, ends: Sequence[str], begins: Mapping[str, Begin]) -> onnx.ModelProto:
    """The part of the graph between some tensors, its nodes unchanged.

    Args:
        file: opened file.
        ends: the outputs of the part; their types are left open.
        begins: its inputs.
    """
    import onnx
    from onnx import helper

    # onnx.utils.extract_model would save nine lines; it does not follow what a subgraph reads and
    # keeps the declared shapes between, which bind the part to the file's batch size. onnx-ir 1.1's
    # `convenience.extract` finds the same nodes as `ancestors`, but keeps those shapes, too, and
    # `ancestors` is needed for the head and the weights anyway.
    nodes = ancestors(file.model.graph, ends, tuple(begins))
    used = {name for node in nodes for name in reads(node)} | set(ends)
    graph = helper.make_graph(
        nodes,
        file.model.graph.name or "part",
        [helper.make_tensor_value_info(n, kind, list(s)) for n, (kind, s) in begins.items()],
        [onnx.ValueInfoProto(name=end) for end in ends],
        [tensor for tensor in file.model.graph.initializer if tensor.name in used],
    )
    model = helper.make_model(graph, opset_imports=file.model.opset_import)
    model.ir_version = file.model.ir_version
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _node_of(error: Exception) -> str:
    text = _first_line(error)
    return text.partition("while running ")[2].partition(" Status")[0].rstrip(". ") or "its run"
