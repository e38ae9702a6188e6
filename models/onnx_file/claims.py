"""What an ONNX file may claim: its parts and its tensors, before memory is given to them.

Reading takes about ten times the file's size and 1 GiB at most. Numbers grow eightfold where a
file stores each in a byte. Parts (nodes, names, attributes) take a hundred bytes in memory and two
in a file, so a file may have :data:`MOST_PARTS` of them: they are counted before it is parsed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    import onnx

MOST_PARTS = 2_000_000
"""Fields of all messages but the stored numbers; networks have some ten thousand."""
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "import", 14: "property", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "import", 11: "attribute", 12: "value", 14: "property"},
    "graph": {
        1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 14: "property",
        15: "sparse", 16: "property",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute", 9: "property"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 14: "type", 15: "type",
        22: "sparse", 23: "sparse",
    },
    "tensor": {13: "property", 16: "property"},
    "value": {2: "type", 4: "property"},
    "type": {1: "array", 4: "list", 5: "map", 8: "array", 9: "list"},
    "array": {2: "shape"}, "list": {1: "type"}, "map": {2: "type"}, "shape": {1: "side"},
}  # fmt: skip
"""Message -> field -> the message in it, as onnx.proto has them."""


def refuse_parts(path: Path) -> None:
    """Refuse a file of more parts than any network has.

    Raises:
        SparsebenchError: it has more, or ends inside one.
    """
    size = path.stat().st_size
    if size <= MOST_PARTS:  # a part takes two bytes
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        waiting = [("model", 0, size)]
        count = 0
        while waiting:
            message, start, end = waiting.pop()
            inside = _INSIDE.get(message, {})
            for field, begin, stop in _fields(path, data, start, end):
                count += 1
                if count > MOST_PARTS:
                    raise SparsebenchError(
                        f"'{path}' holds more than {MOST_PARTS:,} parts; a network has some ten "
                        "thousand.",
                        "Is it a network for images?",
                    )
                if field in inside and stop > begin:
                    waiting.append((inside[field], begin, stop))


def _fields(path: Path, data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number of each field of a message, and where its bytes lie; numbers have none.

    Raises:
        SparsebenchError: the bytes are no message.
    """
    while at < end:
        key, at = _varint(path, data, at, end)
        kind, begin = key & 7, at
        if kind == 0:
            _, at = _varint(path, data, at, end)
            begin = at
        elif kind == 2:
            length, begin = _varint(path, data, at, end)
            at = begin + length
        elif kind in (1, 5):
            at = begin = at + (8 if kind == 1 else 4)
        else:  # groups, which ONNX has none of
            raise _damaged(path)
        if at > end:
            raise _damaged(path)
        yield key >> 3, begin, at


def _varint(path: Path, data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise _damaged(path)


def _damaged(path: Path) -> SparsebenchError:
    return SparsebenchError(
        f"'{path}' cannot be read as ONNX: it ends inside one of its parts, or is no such file.",
        "Is it truncated, or a part of it missing?",
    )


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        one = waiting.pop()
        yield from getattr(one, "initializer", ())  # functions have none
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)


def refuse_claims(path: Path, model: onnx.ModelProto) -> None:
    """Refuse tensors whose shapes or external parts exceed what is stored.

    Raises:
        SparsebenchError: as said.
    """
    from onnx import TensorProto
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    outside, files = 0, dict[str, int]()
    known = set(TensorProto.DataType.values())
    for tensor in _tensors(model):
        if tensor.data_type not in known:
            raise SparsebenchError(
                f"'{path}': the tensor '{tensor.name}' cannot be read: nobody knows its type, "
                f"{tensor.data_type}.",
                "Is it damaged, or of a later ONNX than this one reads?",
            )
        claimed = 1
        for side in tensor.dims:
            claimed *= side
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            if info.location not in files:
                part = path.parent / info.location
                if not part.is_file():
                    raise SparsebenchError(
                        f"'{path}' cannot be read as ONNX: it keeps weights in '{info.location}', "
                        "which is not beside it.",
                        "Put it there under that name: the exporter wrote both files.",
                    )
                files[info.location] = part.stat().st_size
            whole = files[info.location]
            outside += int(info.length or max(0, whole - int(info.offset or 0)))
            continue
        stored = 2 * len(tensor.raw_data) + sum(
            len(field) * 8
            for field in (
                tensor.float_data,
                tensor.int32_data,
                tensor.int64_data,
                tensor.double_data,
                tensor.uint64_data,
                tensor.string_data,
            )
        )
        if claimed > stored or claimed < 0:
            raise SparsebenchError(
                f"'{path}': the tensor '{tensor.name}' cannot be read: it claims shape "
                f"{list(tensor.dims)}, the file holds less.",
                "Is the file damaged?",
            )
    # Two layers may share a part of the file; a hundred that do are an attack on the memory.
    if outside > 2 * sum(files.values()):
        raise SparsebenchError(
            f"'{path}' cannot be read as ONNX: its tensors claim {outside:,} bytes of external "
            f"data, {', '.join(files)} hold{'s' if len(files) == 1 else ''} "
            f"{sum(files.values()):,}.",
            "Is a part of it missing?",
        )
