"""Energy from a made-up powercap tree: packages summed, wrap-around undone, or "not readable"."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.bench.machine.energy import read_energy


def zone(root: Path, name: str, what: str, microjoules: int, most: int = 1_000_000_000) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{what}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")


def test_packages_are_summed_and_their_parts_and_the_platform_are_not(tmp_path: Path) -> None:
    for package in (0, 1):
        zone(tmp_path, f"intel-rapl:{package}", f"package-{package}", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 9_000_000)
    before = read_energy(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 7_500_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 5_500_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 99_000_000)
    assert read_energy(tmp_path).since(before) == pytest.approx(3.0)


def test_a_counter_that_wrapped_around_goes_on(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000)
    before = read_energy(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 1_500_000)
    assert read_energy(tmp_path).since(before) == pytest.approx(2.5)


def test_what_cannot_be_read_is_unknown_and_not_zero(tmp_path: Path) -> None:
    nothing = read_energy(tmp_path / "none")
    assert nothing.since(nothing) is None
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("")  # as a file that only root may read
    assert read_energy(tmp_path).since(nothing) is None
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    zone(tmp_path, "intel-rapl:1", "package-1", 1)
    both = read_energy(tmp_path)
    (tmp_path / "intel-rapl:1/energy_uj").unlink()
    assert read_energy(tmp_path).since(both) is None
