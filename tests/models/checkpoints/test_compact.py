import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.compact import (
    TENSORS_KEY,
    VERSION_KEY,
    load_compact,
    save_compact,
)
from sparsebench.models.errors import SparsebenchError

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    elements=st.one_of(st.just(0.0), st.floats(-1e3, 1e3, width=32)),
)
state_dicts = st.dictionaries(st.text("abc.", min_size=1, max_size=6), arrays, max_size=4)

Forger = Callable[[dict[str, Tensor], dict[str, Any]], None]


def sparse(count: int, nonzeros: int) -> Tensor:
    flat = torch.zeros(count)
    flat[torch.randperm(count, generator=torch.Generator().manual_seed(0))[:nonzeros]] = 1.5
    return flat


def encodings(path: Path) -> dict[str, str]:
    with safe_open(str(path), "pt") as file:
        described = json.loads(file.metadata()[TENSORS_KEY])
    return {name: about["encoding"] for name, about in described.items()}


@given(content=state_dicts)
@SETTINGS
def test_what_is_written_comes_back(tmp_path: Path, content: dict[str, Any]) -> None:
    tensors = {name: torch.from_numpy(np.asarray(a)) for name, a in content.items()}
    save_compact(tmp_path / "a.safetensors", tensors, {"arch": "x"})
    loaded, metadata = load_compact(tmp_path / "a.safetensors")
    assert metadata == {"arch": "x"}
    assert list(loaded) == list(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(array=hnp.arrays(np.float32, (6, 7), elements=st.floats(-6e4, 6e4, width=32)))
@SETTINGS
def test_sixteen_bits_keep_the_mask_and_three_digits(
    tmp_path: Path, dtype: torch.dtype, array: Any
) -> None:
    tensor = torch.from_numpy(array)
    save_compact(tmp_path / "a.safetensors", {"w": tensor}, {}, dtype)
    back = load_compact(tmp_path / "a.safetensors")[0]["w"]
    assert back.dtype == torch.float32
    assert torch.equal(back != 0, tensor != 0)
    assert torch.allclose(back, tensor, rtol=2**-8, atol=1e-7)


def test_sixteen_bits_leave_biases_and_counters_alone(tmp_path: Path) -> None:
    tensors = {"bias": torch.tensor([1 / 3]), "n": torch.tensor(2**40), "w": torch.ones(2, 2) / 3}
    save_compact(tmp_path / "a.safetensors", tensors, {}, torch.float16)
    loaded, _ = load_compact(tmp_path / "a.safetensors")
    assert torch.equal(loaded["bias"], tensors["bias"])
    assert torch.equal(loaded["n"], tensors["n"])
    assert not torch.equal(loaded["w"], tensors["w"])


def test_a_value_beyond_float16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match="bfloat16"):
        save_compact(tmp_path / "a.safetensors", {"w": torch.full((2, 2), 1e6)}, {}, torch.float16)
    assert not list(tmp_path.iterdir())


def test_the_smaller_encoding_is_chosen(tmp_path: Path) -> None:
    tensors = {"few": sparse(6400, 100), "some": sparse(6400, 640), "all": torch.ones(64)}
    save_compact(tmp_path / "a.safetensors", tensors, {})
    # 100 positions of 4 bytes are less than 800 bytes of bits, 640 are more.
    assert encodings(tmp_path / "a.safetensors") == {
        "few": "indices",
        "some": "bitmask",
        "all": "dense",
    }


def test_a_sparse_file_is_as_small_as_it_should_be(tmp_path: Path) -> None:
    """Shannon's bound for places that are independent; a Huffman code is within 3 % of it here."""
    count, nonzeros = 400_000, 40_000
    weights = sparse(count, nonzeros).reshape(400, -1)
    weights[weights != 0] = torch.randn(nonzeros, generator=torch.Generator().manual_seed(1))
    save_compact(tmp_path / "a.safetensors", {"w": weights}, {}, torch.bfloat16)
    size = (tmp_path / "a.safetensors").stat().st_size
    bits = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    kept = weights[weights != 0].to(torch.bfloat16).view(torch.int16).numpy()
    for byte in (kept & 255, kept >> 8):
        shares = np.unique(byte, return_counts=True)[1] / nonzeros
        bits -= nonzeros / count * float((shares * np.log2(shares)).sum())
    assert count * bits / 8 <= size < 1.03 * count * bits / 8 + 1000
    loaded, _ = load_compact(tmp_path / "a.safetensors")
    assert torch.equal(loaded["w"], weights.to(torch.bfloat16).float())


@given(
    data=st.data(),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]),
)
@SETTINGS
def test_large_tensors_of_any_type_come_back(
    tmp_path: Path, data: st.DataObject, dtype: torch.dtype
) -> None:
    """Long enough to be packed; few values or many, so that some places deflate and others not."""
    different = data.draw(st.sampled_from([1, 2, 256, 2**15]))
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    numbers = torch.from_numpy(random.integers(0, different, (8, data.draw(st.integers(1, 1500)))))
    save_compact(tmp_path / "a.safetensors", {"w": numbers.to(dtype)}, {})
    loaded, _ = load_compact(tmp_path / "a.safetensors")
    assert loaded["w"].dtype == dtype and torch.equal(loaded["w"], numbers.to(dtype))


def test_a_place_that_deflates_to_its_own_length_comes_back(tmp_path: Path) -> None:
    """By its length a reader takes it for one that was not deflated, so it must not be."""
    random = np.random.default_rng(0)
    ties = 0
    for zeros in range(64):
        last, first = random.integers(0, 256, (2, 5000), dtype=np.uint8)
        last[:zeros], first[:] = 0, 1
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
        ties += len(deflate.compress(last.tobytes()) + deflate.flush()) == len(last)
        numbers = torch.from_numpy(
            np.stack([last, first], 1).view(np.int16).reshape(50, 100).copy()
        )
        save_compact(tmp_path / "a.safetensors", {"w": numbers}, {})
        assert torch.equal(load_compact(tmp_path / "a.safetensors")[0]["w"], numbers)
    assert ties, "none of these has the length in question"


def test_only_packed_files_need_the_newest_version(tmp_path: Path) -> None:
    small, large = torch.ones(10, 10), torch.ones(100, 100)
    for tensor, version, entry in ((small, "1", "w"), (large, "3", "w::packed")):
        save_compact(tmp_path / "a.safetensors", {"w": tensor}, {})
        with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
            assert file.metadata()[VERSION_KEY] == version
        assert list(load_file(tmp_path / "a.safetensors")) == [entry]
    assert (tmp_path / "a.safetensors").stat().st_size < 1000


def altered_stream(stream: Tensor, position: int, value: int) -> Tensor:
    changed = stream.clone()
    changed[position] = value
    return changed


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda e, p: e.__delitem__("w::packed"), "the packed entry 'w' is missing"),
        (lambda e, p: e.update({"w::packed": e["w::packed"].short()}), "the packed entry 'w' is"),
        (lambda e, p: e.update({"w::packed": e["w::packed"][:-1]}), "does not hold"),
        (lambda e, p: e.update({"w::packed": e["w::packed"][:7]}), "does not hold"),
        (lambda e, p: e.update({"w::packed": e["w::packed"].repeat(2)}), "does not hold"),
        # The first place's length: one byte fewer, so that each stream begins a byte early.
        (
            lambda e, p: e.update(
                {"w::packed": altered_stream(e["w::packed"], 0, int(e["w::packed"][0]) - 1)}
            ),
            "does not hold",
        ),
        (lambda e, p: p["w"].update(shape=[99, 100]), "does not hold 9900"),
        (lambda e, p: p["w"].update(shape=[101, 100]), "does not hold 10100"),
        (lambda e, p: p["w"].update(shape=[100, 10**9]), "claims"),
        (lambda e, p: p["w"].update(shape=[-1]), "list of tensors"),
        (lambda e, p: p["w"].update(dtype="object"), "list of tensors"),
        (lambda e, p: p.update(w=None), "list of tensors"),
        (lambda e, p: p.clear(), "belongs to no tensor|is missing"),
    ],
)
def test_a_forged_stream_is_refused_by_name(tmp_path: Path, change: Forger, complaint: str) -> None:
    path = tmp_path / "forged.safetensors"
    save_compact(path, {"w": torch.ones(100, 100)}, {})
    with safe_open(str(path), "pt") as file:
        header = file.metadata()
    entries, packed = load_file(path), json.loads(header["packed"])
    change(entries, packed)
    save_file(entries, path, {**header, "packed": json.dumps(packed)})
    with pytest.raises(SparsebenchError, match=complaint) as caught:
        load_compact(path)
    assert "forged.safetensors" in caught.value.cause and caught.value.fix


def test_a_stream_of_zeros_cannot_ask_for_all_of_the_memory(tmp_path: Path) -> None:
    """A place that inflates to more than its tensor holds is given up there."""
    path = tmp_path / "bomb.safetensors"
    save_compact(path, {"w": torch.ones(4000, 4000, dtype=torch.uint8)}, {})
    with safe_open(str(path), "pt") as file:
        header = file.metadata()
    packed = {"w": {"shape": [10, 10], "dtype": "uint8"}}
    save_file(load_file(path), path, {**header, "packed": json.dumps(packed)})
    with pytest.raises(SparsebenchError, match="does not hold 100 numbers"):
        load_compact(path)


@given(data=st.data())
@SETTINGS
def test_zeros_in_blocks_are_told_by_the_block(tmp_path: Path, data: st.DataObject) -> None:
    """Four bits fewer of five: a mask over blocks of four consecutive input channels."""
    out, groups, *taps = data.draw(hnp.array_shapes(min_dims=2, max_dims=5, min_side=1, max_side=5))
    flags = hnp.arrays(bool, (out, groups, *taps), elements=st.integers(0, 7).map(lambda n: n == 0))
    mask = torch.from_numpy(data.draw(flags)).repeat_interleave(4, 1)
    weights = torch.arange(1.0, mask.numel() + 1).reshape(mask.shape) * mask
    save_compact(tmp_path / "a.safetensors", {"w": weights}, {})
    loaded, _ = load_compact(tmp_path / "a.safetensors")
    assert torch.equal(loaded["w"], weights)
    stored = load_file(tmp_path / "a.safetensors")
    if "w::bitmask" in stored:
        assert stored["w::bitmask"].numel() == -(-mask.numel() // 32)


def test_blocks_alone_need_the_newer_version(tmp_path: Path) -> None:
    whole = torch.zeros(8, 8, 3, 3)
    whole[0, 4:8, 1, 1] = 2.0
    broken = whole.clone()
    broken[0, 5, 1, 1] = 0.0
    for tensor, version, places in ((whole, "2", [9]), (broken, "1", [40, 58, 67])):
        save_compact(tmp_path / "a.safetensors", {"w": tensor}, {})
        with safe_open(str(tmp_path / "a.safetensors"), "pt") as file:
            assert file.metadata()[VERSION_KEY] == version
        stored = load_file(tmp_path / "a.safetensors")
        assert stored["w::indices"].tolist() == places
        assert torch.equal(load_compact(tmp_path / "a.safetensors")[0]["w"], tensor)


def test_the_file_is_plain_safetensors_and_is_recognised(tmp_path: Path) -> None:
    save_compact(tmp_path / "a.safetensors", {"w": sparse(640, 60)}, {"arch": "resnet18"})
    assert set(load_file(tmp_path / "a.safetensors")) == {"w::values", "w::bitmask"}
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert (loaded.format, loaded.metadata) == ("compact", {"arch": "resnet18"})


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sparsebench.models.checkpoints.compact.save_file", full_disk)
    with pytest.raises(SparsebenchError, match="No space left"):
        save_compact(tmp_path / "a.safetensors", {"w": torch.ones(3)}, {})
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SparsebenchError, match="cannot be written"):
        save_compact(tmp_path / "file" / "a.safetensors", {"w": torch.ones(3)}, {})


def forged(path: Path, change: Forger, version: str = "1") -> Path:
    """A compact file of a bit-masked and an indexed tensor, altered by `change`."""
    entries = {
        "m::values": torch.ones(2),
        "m::bitmask": torch.tensor([0b11000000, 0], dtype=torch.uint8),
        "i::values": torch.ones(2),
        "i::indices": torch.tensor([1, 900], dtype=torch.int32),
        "d": torch.ones(3),
    }
    described: dict[str, Any] = {
        "m": {"encoding": "bitmask", "shape": [3, 4], "dtype": "float32"},
        "i": {"encoding": "indices", "shape": [1000], "dtype": "float32"},
        "d": {"encoding": "dense", "shape": [3], "dtype": "float32"},
    }
    change(entries, described)
    save_file(entries, path, {VERSION_KEY: version, TENSORS_KEY: json.dumps(described)})
    return path


def test_the_forger_s_unaltered_file_is_good(tmp_path: Path) -> None:
    loaded, _ = load_compact(forged(tmp_path / "a.safetensors", lambda e, d: None))
    assert loaded["m"].tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4]
    assert loaded["i"].nonzero().flatten().tolist() == [1, 900]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda e, d: d["i"].update(shape=[10**12]), "claims 1e"),
        (lambda e, d: d["i"].update(shape=[10**6, 10**6]), "claims 1e"),
        (lambda e, d: d["i"].update(shape=[0, 10**30]), "claims 1e"),
        (lambda e, d: d["i"].update(shape=[-1000]), "list of tensors"),
        (lambda e, d: d["i"].update(shape=[1000.0]), "list of tensors"),
        (lambda e, d: d["i"].update(shape=None), "list of tensors"),
        (lambda e, d: d["i"].update(dtype="object"), "list of tensors"),
        (lambda e, d: d["i"].update(encoding="pickle"), "list of tensors"),
        (lambda e, d: d.update(i=3), "list of tensors"),
        (lambda e, d: d["i"].update(shape=[900]), "leave its 900"),
        (lambda e, d: e.update({"i::indices": torch.tensor([-1, 5]).int()}), "leave its"),
        (lambda e, d: e.update({"i::indices": torch.tensor([5, 5]).int()}), "leave its"),
        (lambda e, d: e.update({"i::indices": torch.tensor([1, 2])}), "not a list of int32"),
        (lambda e, d: e.update({"i::indices": torch.tensor([1]).int()}), "2 values for 1 places"),
        (lambda e, d: e.update({"m::values": torch.ones(1)}), "1 values for 2 places"),
        (lambda e, d: e.update({"m::values": torch.ones(1, 2)}), "values for"),
        (lambda e, d: d["m"].update(shape=[3, 6]), "does not fit"),
        (lambda e, d: d["m"].update(shape=[1]), "does not fit"),
        (lambda e, d: e.update({"m::bitmask": torch.tensor([192, 1]).byte()}), "longer than"),
        (lambda e, d: d["m"].update(block=4), "does not fit"),
        (lambda e, d: d["m"].update(block=2), "list of tensors"),
        (lambda e, d: d["m"].update(block=4, shape=[4, 3]), "list of tensors"),
        (lambda e, d: d["i"].update(block=4), "list of tensors"),
        (lambda e, d: e.__delitem__("m::values"), "'m::values' is missing"),
        (lambda e, d: e.__delitem__("d"), "'d' is missing"),
        (lambda e, d: d["d"].update(shape=[4]), r"instead of \[4\]"),
        (lambda e, d: e.update(stray=torch.ones(1)), "'stray' belongs to no tensor"),
    ],
)
def test_a_forged_file_is_refused_by_name(tmp_path: Path, change: Forger, complaint: str) -> None:
    path = forged(tmp_path / "forged.safetensors", change)
    with pytest.raises(SparsebenchError, match=complaint) as caught:
        load_compact(path)
    assert "forged.safetensors" in caught.value.cause
    assert caught.value.fix


def test_a_newer_version_asks_for_an_update(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.safetensors", lambda e, d: None, version="4")
    with pytest.raises(SparsebenchError, match="Update sparsebench"):
        load_compact(path)


@given(cut=st.floats(0, 0.999))
@SETTINGS
def test_a_truncated_file_is_refused(tmp_path: Path, cut: float) -> None:
    whole = tmp_path / "whole.safetensors"
    save_compact(whole, {"w": sparse(3000, 300), "b": torch.ones(9)}, {})
    part = tmp_path / "part.safetensors"
    part.write_bytes(whole.read_bytes()[: int(cut * whole.stat().st_size)])
    with pytest.raises(SparsebenchError, match=r"part\.safetensors"):
        load_compact(part)


@given(seed=st.integers(0, 2**32))
@SETTINGS
def test_altered_bytes_never_end_in_another_error(tmp_path: Path, seed: int) -> None:
    whole = tmp_path / "whole.safetensors"
    save_compact(whole, {"w": sparse(300, 30), "v": sparse(3000, 5), "b": torch.ones(9)}, {})
    content = bytearray(whole.read_bytes())
    random = np.random.default_rng(seed)
    for position in random.integers(0, len(content), 3):
        content[position] = random.integers(256)
    altered = tmp_path / "altered.safetensors"
    altered.write_bytes(content)
    try:
        loaded, _ = load_compact(altered)
    except SparsebenchError:
        return
    assert sum(t.numel() for t in loaded.values()) < 10**6
