from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.features import CachedFeatures, FeatureCache
from sparsebench.models.errors import SparsebenchError
from tests.bench.heads.features.runners import (
    PREPROCESSING,
    PoolingRunner,
    expected_features,
    key,
    noise_task,
)

TASK = noise_task()


def refuse() -> PoolingRunner:
    raise AssertionError("the engine was started although the features were there")


def get(root: Path, **options: object) -> CachedFeatures:
    arguments: dict[str, object] = {"runner_factory": PoolingRunner, **options}
    return FeatureCache(root).get_or_extract(
        key(),
        TASK,
        "train",
        PREPROCESSING,
        **arguments,  # type: ignore[arg-type]
    )


def test_a_miss_extracts_and_a_hit_starts_no_engine(tmp_path: Path) -> None:
    first = get(tmp_path / "cache")
    assert (first.hit, first.damage) == (False, None)
    assert np.abs(first.array - expected_features(TASK, "train")).max() < 1e-5
    second = get(tmp_path / "cache", runner_factory=refuse)
    assert second.hit
    assert np.array_equal(second.array, first.array)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".features"]


def test_fresh_extracts_in_any_case(tmp_path: Path) -> None:
    get(tmp_path)
    runner = PoolingRunner()
    again = get(tmp_path, runner_factory=lambda: runner, fresh=True)
    assert not again.hit
    assert sum(runner.submitted) == 90


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, path.stat().st_size - 4),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(b"SPBFEAT1" + b"\xff" * 8),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"rows": 90', b'"rows": 45')),
        lambda path: path.write_bytes(path.read_bytes().replace(b"pooling", b"pooled!")),
    ],
)
def test_a_damaged_entry_is_named_and_made_again(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    first = get(tmp_path)
    values = np.array(first.array)
    damage(first.path)
    with caplog.at_level(logging.WARNING, logger="sparsebench"):
        logging.getLogger("sparsebench").propagate = True
        again = get(tmp_path)
    assert not again.hit
    assert again.damage
    assert str(first.path) in caplog.text
    assert np.array_equal(again.array, values)
    assert get(tmp_path, runner_factory=refuse).hit


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "x" * 64},
        {"mask_sha256": "x" * 64},
        {"preprocessing": replace(PREPROCESSING, size=10)},
        {"preprocessing": replace(PREPROCESSING, interpolation="bicubic")},
        {"preprocessing": replace(PREPROCESSING, mean=(0.5, 0.4, 0.31))},
        {"task_sha256": "x" * 64},
        {"split": "test"},
        {"engine": "other"},
        {"engine_version": "2"},
        {"precision": "bf16"},
        {"device": "cuda"},
        {"options": {"optimize": False}},
    ],
)
def test_everything_that_features_depend_on_is_in_the_key(change: dict[str, object]) -> None:
    assert key(**change).digest() != key().digest()
    assert key(**change).digest() == key(**change).digest()


def test_another_decoder_makes_other_features(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key().digest()
    monkeypatch.setattr("PIL.__version__", "99.0")
    assert key().digest() != before


def test_the_stages_of_a_miss_and_of_a_hit_sum_to_the_whole(tmp_path: Path) -> None:
    for expected in ({"store", "decode", "extract", "load"}, {"load"}):
        clock = StageClock()
        get(tmp_path, clock=clock)
        total = clock.stop()
        assert expected <= set(clock.seconds)
        assert sum(clock.seconds.values()) == pytest.approx(total, rel=1e-6)


class Dying(PoolingRunner):
    def collect(self) -> tuple[np.ndarray, float]:
        if len(self.submitted) > 3:
            raise RuntimeError("the worker died")
        return super().collect()


def test_an_engine_that_dies_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="died"):
        get(tmp_path, runner_factory=Dying)
    assert list(tmp_path.iterdir()) == []
    assert not get(tmp_path).hit


def test_progress_is_passed_on(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    get(tmp_path, progress=lambda *step: seen.append(step))
    assert seen[-1] == (90, 90)


def test_a_cache_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SparsebenchError, match="cannot be written"):
        get(tmp_path / "file")


def build_often(root: Path, times: int) -> None:
    for _ in range(times):
        found = get(root, fresh=True)
        assert np.abs(found.array - expected_features(TASK, "train")).max() < 1e-5


def test_processes_that_build_the_same_entry_do_not_corrupt_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build_often, args=(tmp_path, 8)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert get(tmp_path, runner_factory=refuse).hit
    assert [path.suffix for path in tmp_path.iterdir()] == [".features"]
