"""Lanes or lines: an image in each lane, or the neighbouring pixels of one."""

from __future__ import annotations

from sparsebench.exporters.kernels.lanes.layer_network import LayerNetwork
from sparsebench.exporters.kernels.lanes.library import LaneLibrary
from sparsebench.exporters.kernels.lanes.network import LaneNetwork
from sparsebench.exporters.kernels.lanes.reader import LaneGraph
from sparsebench.exporters.kernels.lines.layout import LinesRefusedError
from sparsebench.exporters.kernels.lines.network import LineNetwork


def any_network(
    graph: LaneGraph,
    batch_size: int,
    input_shape: tuple[int, int, int],
    kernels: LaneLibrary,
    threads: int,
    generated: bool = True,
) -> LayerNetwork:
    """A network for a batch; arguments as of :class:`LaneNetwork`.

    Half as many images as there are lanes, or fewer, are faster one by one, where the network keeps
    to whole planes.

    Raises:
        SparsebenchError: see :class:`LaneNetwork`.
    """
    refused = ""
    if generated and batch_size <= kernels.lanes // 2:
        try:
            return LineNetwork(graph, batch_size, input_shape, kernels, threads)
        except LinesRefusedError as error:
            refused = error.cause
    found = LaneNetwork(graph, batch_size, input_shape, kernels, threads, generated)
    found.why_not = found.why_not or refused
    return found
