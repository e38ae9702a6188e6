"""What a graph computes from constants alone, made a constant.

torch's exporter stores equal tensors once and hands them on through ``Identity``: the shifts of
layers that were not trained yet, say, which all are zero.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator


def fold_constants(model: onnx.ModelProto) -> None:
    """Put initializers in place of all nodes that hang on no input of the graph, in place.

    Nodes of other domains than ONNX's own, with graphs inside, or of random numbers stay.
    """
    graph = model.graph
    # Older files list their initializers among the inputs, to be overridden: nobody does.
    stored = {tensor.name: tensor for tensor in graph.initializer}
    known = set(stored)
    fixed, rest = [], []
    for node in graph.node:
        if _folds(node) and all(name in known for name in node.input if name):
            fixed.append(node)
            known.update(node.output)
        else:
            rest.append(node)
    made = {name for node in fixed for name in node.output}
    outputs = {output.name for output in graph.output}
    wanted = sorted(made & (outputs | {name for node in rest for name in node.input}))
    if wanted:
        read = {name for node in fixed for name in node.input} & set(stored)
        results = [onnx.helper.make_empty_tensor_value_info(name) for name in wanted]
        part = onnx.helper.make_graph(
            fixed, "constants", [], results, [stored[name] for name in sorted(read)]
        )
        whole = onnx.helper.make_model(part, opset_imports=model.opset_import)
        values = ReferenceEvaluator(whole).run(None, {})
        for name, value in zip(wanted, values, strict=True):
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    del graph.node[:]
    graph.node.extend(rest)


def _folds(node: onnx.NodeProto) -> bool:
    inner = any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for attribute in node.attribute
    )
    plain = node.domain in ("", "ai.onnx") and not inner
    return plain and (node.op_type == "Constant" or any(node.input))
