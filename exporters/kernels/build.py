"""The suite's C++, compiled once when first needed, kept by source, flags and ISA."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exporters.cache import cache_dir
from models.errors import SparsebenchError, UnknownNameError

SOURCE = Path(__file__).parent / "source"
PARTS = (*((f"convolve{part}", "convolve.cpp", f"-DPART={part}") for part in range(5)),)
UNITS = (
    *PARTS,
    ("elementwise", "elementwise.cpp", "-DELEMENTWISE"),
    ("pixels", "pixels.cpp", "-DPIXELS"),
    ("folded", "folded.cpp", "-DFOLDED"),
)


@dataclass(frozen=True)
class Sources:
    """The C++ of one shared library.

    Attributes:
        name: of the library's file.
        title: what it is called in messages.
        folder: where its files are.
        units: what is compiled, side by side: name, file in the folder, a define.
        includes: folders of headers that it uses besides its own.
    """

    name: str
    title: str
    folder: Path
    units: tuple[tuple[str, str, str], ...]
    includes: tuple[Path, ...] = ()

    def files(self) -> list[Path]:
        """Everything that the library depends on."""
        headers = [file for folder in self.includes for file in sorted(folder.glob("*.h"))]
        return [*sorted(self.folder.iterdir()), *headers]


CONVOLUTIONS = Sources("convolutions", "sparse kernels", SOURCE, UNITS)

# No -ffast-math: a NaN must stay a NaN. Contraction to fused multiply-adds is GCC's default;
# Clang is told so. Warnings of GCC 12's own headers about "uninitialized" are its bug 105593.
FLAGS = ("-std=c++20", "-O2", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-pthread")
FLAGS_OF_ISA = {
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3",),
    "portable": (),
}
_CPU_FLAGS = {
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma"},
    "avx2": {"avx2", "fma", "bmi2", "f16c"},
}
DTYPES = {"float32": (), "float64": ("-DSPARSE_DOUBLE",)}


def find_compiler() -> str | None:
    """Path of g++ or clang++ (``CXX`` first), or None."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def supported_isas() -> tuple[str, ...]:
    """The instruction sets that this machine runs, best first; always ends in portable."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ("portable",)
    flags = _cpu_flags()
    return (*(isa for isa, needed in _CPU_FLAGS.items() if needed <= flags), "portable")


def chosen_isa() -> str:
    """The best instruction set, or what ``SPARSEBENCH_KERNEL_ISA`` asks for.

    Raises:
        SparsebenchError: the machine does not run the one that is asked for.
    """
    supported = supported_isas()
    asked = os.environ.get("SPARSEBENCH_KERNEL_ISA")
    if not asked:
        return supported[0]
    if asked not in FLAGS_OF_ISA:
        raise UnknownNameError("instruction set", asked, FLAGS_OF_ISA)
    if asked not in supported:
        raise SparsebenchError(
            f"This processor has no {asked}.", "Unset SPARSEBENCH_KERNEL_ISA for its best."
        )
    return asked


def build(isa: str, dtype: str, sources: Sources = CONVOLUTIONS) -> Path:
    """Path of the shared library; compiled (the convolutions: 20 s) unless the cache has it.

    ``SPARSEBENCH_KERNEL_FLAGS`` adds compiler flags, e.g. those of a sanitizer.

    Args:
        isa: key of :data:`FLAGS_OF_ISA`.
        dtype: key of :data:`DTYPES`.
        sources: what is compiled.

    Raises:
        SparsebenchError: there is no compiler, or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise SparsebenchError(
            f"The {sources.title} need a C++ compiler and none is on the PATH.",
            "Install g++ (Debian: apt-get install g++) or clang++.",
        )
    extra = shlex.split(os.environ.get("SPARSEBENCH_KERNEL_FLAGS", ""))
    flags = (*FLAGS, *FLAGS_OF_ISA[isa], *DTYPES[dtype], *extra)
    digest = hashlib.sha256("\n".join((compiler, _version(compiler), *flags)).encode())
    for file in sources.files():
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    folder = cache_dir("kernels")
    target = folder / f"{sources.name}-{isa}-{dtype}-{digest.hexdigest()[:16]}.so"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
        objects = [Path(scratch) / f"{name}.o" for name, _, _ in sources.units]
        include = [f"-I{other}" for other in sources.includes]
        commands = [
            [compiler, *flags, *include, define, "-c", str(sources.folder / source), "-o", str(out)]
            for (_, source, define), out in zip(sources.units, objects, strict=True)
        ]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            list(threads.map(lambda command: _run(command, sources.title), commands))
        linked = Path(scratch) / f"{sources.name}.so"
        link = [compiler, *flags, "-shared", *map(str, objects), "-o", str(linked)]
        _run(link, sources.title)
        linked.replace(target)  # whole or not at all, also when two processes build
    return target


def _run(command: list[str], title: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        first = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr[:200])
        raise SparsebenchError(
            f"{command[0]} could not compile the {title}: {first.strip()}",
            "They need C++20: g++ 11 or clang++ 14 at least.",
        )


def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
