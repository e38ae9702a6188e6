"""A user's own ONNX graph, run by ONNX Runtime without a change to it: the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.graph import OnnxFile, ancestors

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float32]
CHUNK = 32


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

    def run(self, images: Array) -> list[NDArray[Any]]:
        """The tensors for pictures ``[n, 3, H, W]``, pieces put together along their first axis.

        A file that fixes its batch size gets pieces of it, the last one filled up.

        Raises:
            SparsebenchError: ONNX Runtime fails on them.
        """
        step = self._file.batch or CHUNK
        pieces: list[list[NDArray[Any]]] = []
        for start in range(0, len(images), step):
            piece = images[start : start + step]
            kept = len(piece)
            if self._file.batch and kept < step:
                piece = np.concatenate([piece, np.repeat(piece[:1], step - kept, 0)])
            outputs = run_session(self._session, self._names, piece, self._file.path)
            pieces.append([array if len(array) != step else array[:kept] for array in outputs])
        return [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]

    def shapes(self, side: int) -> list[tuple[int, ...]]:
        """Shapes of the tensors for one batch of black pictures (1, or the file's own size)."""
        images = np.zeros((self._file.batch or 1, 3, side, side), np.float32)
        outputs = run_session(self._session, self._names, images, self._file.path)
        return [tuple(array.shape) for array in outputs]


def session_of(model: onnx.ModelProto, path: Path) -> Any:
    """A session that computes every node as it stands.

    Raises:
        SparsebenchError: ONNX Runtime does not load the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Threads that spin after a call would disturb what is measured next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no base class of their own
        raise SparsebenchError(
            f"ONNX Runtime does not load '{path}': {_first_line(error)}",
            "Is it damaged, or does it need operators of its own?",
        ) from None


def run_session(
    session: Any, names: Sequence[str], images: Array, path: Path
) -> list[NDArray[Any]]:
    """One call; raises SparsebenchError where it fails."""
    try:
        found = session.run(list(names), {session.get_inputs()[0].name: images})
    except Exception as error:
        raise SparsebenchError(
            f"ONNX Runtime does not run '{path}' on {len(images)} pictures of "
            f"{images.shape[-1]} px: {_first_line(error)}",
            "Does it take another --size?",
        ) from None
    return [np.asarray(array) for array in found]


def part_of(file: OnnxFile, end: str, begin: str, shape: Sequence[int | str]) -> onnx.ModelProto:
    """The part of the graph from one float tensor to another, its nodes unchanged.

    Args:
        file: opened file.
        end: the only output of the part.
        begin: its only input.
        shape: of the input; words are free axes.
    """
    import onnx
    from onnx import TensorProto, helper

    nodes = ancestors(file.model.graph, end, begin)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        file.model.graph.name or "part",
        [helper.make_tensor_value_info(begin, TensorProto.FLOAT, list(shape))],
        [onnx.ValueInfoProto(name=end)],
        [tensor for tensor in file.model.graph.initializer if tensor.name in used],
    )
    model = helper.make_model(graph, opset_imports=file.model.opset_import)
    model.ir_version = file.model.ir_version
    model.functions.extend(file.model.functions)
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
