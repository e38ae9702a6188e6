"""Energy of the processor packages, where the kernel lets one read it (RAPL).

`/sys/class/powercap/intel-rapl:N/energy_uj` counts microjoules of a package and wraps around at
`max_energy_range_uj` (kernel.org, Documentation/power/powercap). AMD processors appear under the
same name. Many systems let only root read it, and virtual machines have none: then energy is "not
readable", never zero. A package's energy is that of all programs on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NOT_READABLE = "not readable"
JOULES = "joules_per_image"
"""Key of a trial's ``extra``."""


@dataclass(frozen=True)
class Energy:
    """Counters of all packages at one moment.

    Args:
        microjoules: zone -> counter.
        ranges: zone -> where the counter wraps around.
    """

    microjoules: dict[str, int]
    ranges: dict[str, int]

    def since(self, earlier: Energy) -> float | None:
        """Joules of all packages from `earlier` to here; None unless both know the same ones.

        A counter that is lower than before has wrapped around, once: at 200 W one of the usual
        range does so every twenty minutes.
        """
        if not self.microjoules or self.microjoules.keys() != earlier.microjoules.keys():
            return None
        spent = 0
        for zone, now in self.microjoules.items():
            change = now - earlier.microjoules[zone]
            spent += change if change >= 0 else change + self.ranges[zone]
        return spent / 1e6


def read_energy(powercap: Path = POWERCAP) -> Energy:
    """The counters of all packages; empty where none, or not all, can be read.

    Args:
        powercap: where the zones lie; for tests.
    """
    counters: dict[str, int] = {}
    ranges: dict[str, int] = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:  # cores, memory controllers: parts of a package
            continue
        try:
            if not (zone / "name").read_text().startswith("package"):  # psys holds the packages
                continue
            counters[zone.name] = int((zone / "energy_uj").read_text())
            ranges[zone.name] = int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return Energy({}, {})
    return Energy(counters, ranges)


def joules_per_image(earlier: Energy, images: int) -> dict[str, float | None]:
    """What was spent since a moment, for a trial's ``extra``; None where it is not readable."""
    joules = read_energy().since(earlier)
    return {JOULES: None if joules is None else joules / max(images, 1)}
