"""Which code runs a network, and what runs where code cannot be generated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.generated import memory
from sparsebench.exporters.kernels.inference import generated_network
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.split import SplitNetwork
from tests.exporters.kernels.inference.test_folded import bottlenecks, expected_of

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
avx512 = pytest.mark.skipif("avx512" not in supported_isas(), reason="no AVX-512")
IMAGES = np.random.default_rng(1).standard_normal((17, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def network() -> OnnxNetwork:
    return bottlenecks(np.random.default_rng(0))


@pytest.fixture
def untried() -> Iterator[None]:
    """What was found out about this machine is forgotten, before and after."""
    memory.refusal.cache_clear()
    yield
    memory.refusal.cache_clear()


def ran(network: OnnxNetwork, isa: str, **options: bool) -> SplitNetwork:
    compiled = SplitNetwork(network, 17, (3, 32, 32), library("float32", isa), 1, **options)
    expected = expected_of(network, IMAGES)
    near = 2e-5 * np.abs(expected).max()
    np.testing.assert_allclose(compiled.run(IMAGES), expected, rtol=0, atol=near)
    return compiled


@avx512
def test_with_avx512_all_parts_of_a_batch_are_generated(network: OnnxNetwork) -> None:
    compiled = ran(network, "avx512")
    assert (compiled.paths, compiled.why_not) == (["generated", "generated"], "")
    assert compiled.parts == [(16, "blocks"), (1, "blocks")]
    assert compiled.code_bytes > 0 and set(compiled.layers) == set(network.layers)
    assert ran(network, "avx512", generated=False).paths == ["compiled", "pixels"]


@avx512
def test_few_images_of_a_size_without_equal_pieces_run_by_pixels(
    network: OnnxNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated_network, "_MOST_WASTE", 1.2)
    kernels = library("float32", "avx512")
    for batch, size, path in ((1, 72, "pixels"), (1, 64, "generated"), (16, 72, "generated")):
        compiled = SplitNetwork(network, batch, (3, size, size), kernels, 1)
        assert compiled.paths == [path]
        assert ("no equal pieces" in compiled.why_not) == (path == "pixels")


@pytest.mark.parametrize("isa", [isa for isa in supported_isas() if isa != "avx512"])
def test_without_it_the_compiled_kernels_run_and_say_so(network: OnnxNetwork, isa: str) -> None:
    compiled = ran(network, isa)
    assert set(compiled.paths) <= {"compiled", "pixels"} and isa in compiled.why_not


@avx512
@pytest.mark.usefixtures("untried")
def test_a_system_that_runs_no_such_pages(
    network: OnnxNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not aligned to a page: the system refuses, as one that forbids them would.
    protect = memory._protect
    monkeypatch.setattr(memory, "_protect", lambda start, size: protect(start + 1, size))
    compiled = ran(network, "avx512")
    assert compiled.paths == ["compiled", "pixels"]
    assert "does not run generated code: Invalid argument" in compiled.why_not


@avx512
def test_a_pattern_that_is_too_large(network: OnnxNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, words in ((generated_network, "non-zeros would take"), (memory, "The code would")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "LIMIT", 2000)
            compiled = ran(network, "avx512")
        assert compiled.paths == ["compiled", "pixels"] and words in compiled.why_not


@avx512
def test_code_is_readable_and_executable_and_nothing_else() -> None:
    code = memory.CodeMemory([b"\xc3", b"\x90" * 100])
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            first, end = (int(place, 16) for place in line.split()[0].split("-"))
            found += [line.split()[1] for at in code.addresses if first <= at < end]
    assert found == ["r-xp", "r-xp"] and code.addresses[1] - code.addresses[0] == 64
