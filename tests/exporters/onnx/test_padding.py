"""Networks that pad by their input's size: the file has the padding of its one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sparsebench.exporters.onnx.export import write_onnx
from sparsebench.models.architectures import build, feature_extractor


@pytest.mark.parametrize("size", [33, 64, 96])
def test_a_file_pads_as_the_network_and_computes_no_shapes(size: int, tmp_path: Path) -> None:
    """With the formula in the file DeepSparse was wrong at 96 px, and ours refused it."""
    torch.manual_seed(0)
    network = build("efficientnet_lite0", 10)
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        expected = feature_extractor(network, "efficientnet_lite0").eval()(images).numpy()
    path = tmp_path / "model.onnx"
    write_onnx(feature_extractor(network, "efficientnet_lite0"), path, size)
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert kinds <= {"Conv", "Clip", "Add", "Pad", "GlobalAveragePool", "Flatten"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_engines_of_zeros_compute_it(tmp_path: Path) -> None:
    from sparsebench.exporters.kernels.compiled.build import find_compiler
    from sparsebench.exporters.kernels.compiled.library import library
    from sparsebench.exporters.kernels.inference.onnx_reader import read_onnx
    from sparsebench.exporters.kernels.inference.split import SplitNetwork

    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    torch.manual_seed(0)
    network = feature_extractor(build("efficientnet_lite0", 10), "efficientnet_lite0").eval()
    images = torch.randn(3, 3, 96, 96)
    path = tmp_path / "model.onnx"
    write_onnx(network, path, 96)
    compiled = SplitNetwork(read_onnx(str(path), (3, 96, 96)), 3, (3, 96, 96), library(), 1)
    with torch.no_grad():
        expected = network(images).numpy()
    np.testing.assert_allclose(compiled.run(images.numpy()), expected, rtol=1e-3, atol=1e-5)
