"""An ONNX file read and checked: a graph that can be walked, of a size that its file warrants.

What the ONNX specification promises is checked before anything relies on it: every tensor is
produced once, nodes stand in an order in which they can run, nothing is left in training mode.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.file_kinds import ONNX, fix_of, head_of, kind_of
from sparsebench.models.onnx_file.claims import refuse_claims, refuse_parts
from sparsebench.models.onnx_file.walks import called, every_graph, reads

if TYPE_CHECKING:
    import onnx

# Nodes that the calls of local functions may come to; a few calls can unfold to millions.
_MOST_NODES = 200_000
_STANDARD = {"", "ai.onnx"}
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_DAMAGED = "Is it damaged? Export it again; `onnx.checker.check_model` says more."


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external weights.

    Raises:
        SparsebenchError: it is missing, damaged, no ONNX file, or claims more than it holds.
    """
    import onnx

    if not path.is_file():
        raise SparsebenchError(f"There is no ONNX file '{path}'.", "Check the path.")
    kind = kind_of(path, head_of(path))
    if kind not in (None, ONNX):
        fix = fix_of(kind, path) or "Export the network to ONNX, and name that file."
        raise SparsebenchError(f"'{path}' is {kind}, not an ONNX graph.", fix)
    refuse_parts(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        refuse_claims(path, model)
        onnx.load_external_data_for_model(model, str(path.parent))
    except SparsebenchError:
        raise
    except Exception as error:  # protobuf and the reader of external data raise their own
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise SparsebenchError(
            f"'{path}' cannot be read as ONNX ({type(error).__name__}: {said}).",
            "Is it truncated, or a part of it missing?",
        ) from None
    return model


def checked(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its local functions unfolded and its nodes in an order that can run.

    Raises:
        SparsebenchError: a cycle, a tensor that nothing or more than one node produces, sparse
            weights, or a node in training mode.
    """
    from onnx import inliner

    if model.functions:
        _refuse_unfolding(path, model)
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:
            raise SparsebenchError(
                f"'{path}': its local functions cannot be unfolded ({error}).", _DAMAGED
            ) from None
    graph = model.graph
    if not graph.node or not graph.output:
        raise SparsebenchError(f"'{path}' holds no network.", "Is it truncated?")
    sparse = any(
        one.sparse_initializer
        or any(
            a.HasField("sparse_tensor") or a.sparse_tensors for n in one.node for a in n.attribute
        )
        for one in every_graph(graph)
    )
    if sparse:
        raise SparsebenchError(
            f"'{path}' stores weights as sparse initializers, which engines do not read.",
            "Write them as plain tensors with zeros.",
        )
    _order(path, graph)
    _refuse_training(path, model)
    return model


def _refuse_unfolding(path: Path, model: onnx.ModelProto) -> None:
    """Refuse functions that call themselves, or unfold to an absurd number of nodes."""
    bodies = {(f.domain, f.name): [(n.domain, n.op_type) for n in f.node] for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    open_: set[tuple[str, str]] = set()
    calls = [(node.domain, node.op_type) for node in model.graph.node]
    # By hand instead of recursion: a chain of functions may be as long as the file.
    stack = [key for key in dict.fromkeys(calls) if key in bodies]
    while stack:
        key = stack[-1]
        inner = [one for one in bodies[key] if one in bodies and one not in sizes]
        if key in sizes:
            stack.pop()
        elif inner and not open_.intersection(inner):
            open_.add(key)
            stack.extend(dict.fromkeys(inner))
        elif inner:
            raise SparsebenchError(
                f"'{path}': the function '{inner[0][1]}' calls itself: a cycle.", _DAMAGED
            )
        else:
            sizes[key] = sum(sizes.get(one, 1) for one in bodies[key])
            open_.discard(key)
            stack.pop()
    total = sum(sizes.get(key, 1) for key in calls)
    if total > max(_MOST_NODES, len(model.graph.node)):
        raise SparsebenchError(
            f"'{path}' unfolds to {total:.3g} nodes; at most {_MOST_NODES:,} are read.",
            "Export it with its functions unfolded.",
        )


def _order(path: Path, graph: onnx.GraphProto) -> None:
    """Put the nodes into an order that can run, if they are not in one.

    Raises:
        SparsebenchError: there is none, or a tensor is missing, or stored or produced twice.
    """
    stored = Counter(tensor.name for tensor in graph.initializer)
    if twice := next((name for name, count in stored.items() if count > 1), None):
        # Readers take the first or the last of them, and do not agree.
        raise SparsebenchError(f"'{path}' stores two tensors as '{twice}'.", _DAMAGED)
    known = {"", *stored, *(i.name for i in graph.input)}
    maker: dict[str, int] = {}
    for place, node in enumerate(graph.node):
        outputs = [name for name in node.output if name]
        if not outputs or not node.op_type:
            raise SparsebenchError(
                f"'{path}': node {place} ({called(node) or 'without operator'}) has no output.",
                _DAMAGED,
            )
        for name in outputs:
            if name in maker or name in known:
                raise SparsebenchError(
                    f"'{path}': the tensor '{name}' is produced more than once.", _DAMAGED
                )
            maker[name] = place
    inputs = [[name for name in dict.fromkeys(reads(n)) if name not in known] for n in graph.node]
    for node, names in zip(graph.node, inputs, strict=True):
        for name in names:
            if name not in maker:
                raise SparsebenchError(
                    f"'{path}': {called(node)} reads '{name}', which nothing in the file produces.",
                    _DAMAGED,
                )
    for output in graph.output:
        if output.name not in maker and output.name not in known - {""}:
            raise SparsebenchError(
                f"'{path}': nothing in the file produces its output '{output.name}'.", _DAMAGED
            )
    if all(maker[name] < place for place, names in enumerate(inputs) for name in names):
        return
    waits = [len({maker[name] for name in names}) for names in inputs]
    wakes: dict[int, set[int]] = {}
    for place, names in enumerate(inputs):
        for name in names:
            wakes.setdefault(maker[name], set()).add(place)
    ready, order = deque(i for i, count in enumerate(waits) if not count), list[int]()
    while ready:
        place = ready.popleft()
        order.append(place)
        for other in sorted(wakes.get(place, ())):
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    if len(order) < len(graph.node):
        stuck = next(i for i, count in enumerate(waits) if count)
        raise SparsebenchError(
            f"'{path}' holds a cycle: {called(graph.node[stuck])} waits for itself.", _DAMAGED
        )
    nodes = [graph.node[i] for i in order]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _refuse_training(path: Path, model: onnx.ModelProto) -> None:
    """Refuse nodes whose result hangs on chance or on the other images of a batch.

    Raises:
        SparsebenchError: naming the node.
    """
    graphs = list(every_graph(model.graph))
    opset = next((o.version for o in model.opset_import if o.domain in _STANDARD), 1)
    watched = [n for graph in graphs for n in graph.node if n.domain in _STANDARD]
    for node in watched:
        if node.op_type in _RANDOM:
            raise SparsebenchError(
                f"'{path}': {called(node)} draws random numbers: no result can be repeated.",
                "Export the network in evaluation mode (model.eval()).",
            )
    watched = [n for n in watched if n.op_type in ("BatchNormalization", "Dropout")]
    if not watched:
        return
    stored = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
    for graph in graphs:
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    stored[node.output[0]] = attribute.t
    for node in watched:
        if _trains(node, opset, stored):
            effect = (
                "an image's result depends on the others in its batch"
                if node.op_type == "BatchNormalization"
                else "it drops values at random"
            )
            raise SparsebenchError(
                f"'{path}': {called(node)} is in training mode: {effect}.",
                "Export the network in evaluation mode (model.eval(), and torch.onnx.export with "
                "training=TrainingMode.EVAL).",
            )


def _trains(node: onnx.NodeProto, opset: int, stored: Mapping[str, onnx.TensorProto]) -> bool:
    from onnx import numpy_helper

    given = {a.name: a.i for a in node.attribute}
    if opset < 7:
        return not given.get("is_test", 0)
    if node.op_type == "BatchNormalization":
        return bool(given.get("training_mode", 0)) or any(node.output[1:])
    _, ratio, mode = (*node.input, "", "")[:3]
    if not mode:
        return False
    if mode not in stored:
        return True  # it would be told by whoever runs it
    if not bool(numpy_helper.to_array(stored[mode]).any()):
        return False
    return ratio not in stored or bool((numpy_helper.to_array(stored[ratio]) != 0).any())
