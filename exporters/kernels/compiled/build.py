"""The suite's C++, compiled once when first needed, kept by source, flags and ISA."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sparsebench.exporters.kernels.compiled.kept import is_whole, keep, newest_whole
from sparsebench.models.cache import cache_dir
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError, UnknownNameError

SOURCE = Path(__file__).parent / "source"


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
        own = {self.folder / file for _, file, _ in self.units}
        headers = (sorted(folder.glob("*.h")) for folder in (self.folder, *self.includes))
        return [*sorted(own), *itertools.chain.from_iterable(headers)]


BASE = Sources(
    "kernels",
    "sparse kernels",
    SOURCE,
    tuple(
        (name, f"{name}.cpp", f"-D{name.upper()}")
        for name in (
            *("elementwise", "normpool", "pixels", "folded", "bytes", "correlation", "matrix"),
        )
    ),
)
# The loops that read a pattern take eight times as long to compile as all the rest, and networks of
# generated code never call them: a library for each function, compiled when it is first needed.
PARTS = {
    name: Sources(name, "sparse kernels", SOURCE, ((name, "convolve.cpp", f"-DPART={part}"),))
    for part, name in enumerate(("forward1", "forward2", "backward", "weights1", "weights2"))
}

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
_CXX = "Unset CXX, or set it to a C++ compiler's call, e.g. CXX='ccache g++'."


def find_compiler() -> tuple[str, ...] | None:
    """The words that call ``CXX``, g++ or clang++, or None; the first is a path.

    Raises:
        SparsebenchError: ``CXX`` names a program that is not there.
    """
    if asked := os.environ.get("CXX", "").strip():
        try:
            program, *arguments = shlex.split(asked)
        except ValueError as error:  # a quotation that does not end
            raise SparsebenchError(f"CXX ({asked}) cannot be read: {error}.", _CXX) from error
        found = shutil.which(program)
        if found is None:
            raise SparsebenchError(f"CXX asks for '{program}', which is not on the PATH.", _CXX)
        return (found, *arguments)
    for name in ("g++", "clang++"):
        if found := shutil.which(name):
            return (found,)
    return None


def supported_isas() -> tuple[str, ...]:
    """The instruction sets that this machine runs, best first; always ends in portable."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ("portable",)
    flags = cpu_flags()
    return (*(isa for isa, needed in _CPU_FLAGS.items() if needed <= flags), "portable")


def chosen_isa() -> str:
    """The best instruction set, or what ``SPARSEBENCH_KERNEL_ISA`` asks for.

    Raises:
        SparsebenchError: the machine does not run the one that is asked for.
    """
    asked = os.environ.get("SPARSEBENCH_KERNEL_ISA")
    if not asked:
        return supported_isas()[0]
    return checked_isa(asked, "Unset SPARSEBENCH_KERNEL_ISA for its best.")


def checked_isa(asked: str, fix: str = "") -> str:
    """An instruction set that this machine runs.

    Args:
        asked: its name.
        fix: what to do where the machine does not run it.

    Raises:
        SparsebenchError: there is none of this name, or the machine does not run it: calling
            its functions would end the process.
    """
    supported = supported_isas()
    if asked not in FLAGS_OF_ISA:
        raise UnknownNameError("instruction set", asked, FLAGS_OF_ISA)
    if asked not in supported:
        fix = fix or f"It runs {', '.join(supported)}."
        raise SparsebenchError(f"This processor has no {asked}.", fix)
    return asked


def load(isa: str, dtype: str, sources: Sources = BASE) -> ctypes.CDLL:
    """The shared library of :func:`build`, loaded; compiled once more where it does not load.

    Raises:
        SparsebenchError: there is no compiler, or it fails, or what it makes does not load.
    """
    library = build(isa, dtype, sources)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        failed = error
    if find_compiler() is not None:  # else another machine, which made it, may still use it
        library.unlink(missing_ok=True)
        library = build(isa, dtype, sources)
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            failed = error
    raise SparsebenchError(
        f"The compiled {sources.title} cannot be loaded: {failed}.",
        f"Delete {library}; is the cache on a file system whose programs may run?",
    ) from failed


def build(isa: str, dtype: str, sources: Sources = BASE) -> Path:
    """Path of the shared library; compiled (seconds) unless the cache has it.

    Without a compiler one that any compiler made of the same source and flags is taken. Of
    several processes one compiles and the others wait. ``SPARSEBENCH_KERNEL_FLAGS`` adds
    compiler flags, e.g. those of a sanitizer.

    Args:
        isa: key of :data:`FLAGS_OF_ISA`.
        dtype: key of :data:`DTYPES`.
        sources: what is compiled.

    Raises:
        SparsebenchError: there is no compiler, or it fails, or the cache cannot be written.
    """
    compiler = find_compiler()
    if compiler is None:
        found = find_built(isa, dtype, sources)
        if found is not None:
            return found
        raise SparsebenchError(
            f"The {sources.title} need a C++ compiler and none is on the PATH.",
            "Install g++ (Debian: apt-get install g++) or clang++.",
        )
    folder, flags = cache_dir("kernels"), _flags(isa, dtype)
    try:
        made_by = hashlib.sha256("\n".join((*compiler, _version(compiler))).encode())
        target = folder / f"{_stem(isa, dtype, sources)}-{made_by.hexdigest()[:8]}.so"
        if not is_whole(target):
            with FileLock(target.with_suffix(".lock")):
                if not is_whole(target):  # nobody else has made it meanwhile
                    _compile([*compiler, *flags], sources, target)
    except OSError as error:
        raise SparsebenchError(
            f"The {sources.title} could not be compiled into {folder}: {error}.",
            "Set SPARSEBENCH_CACHE to a folder you can write.",
        ) from error
    return target


def find_built(isa: str, dtype: str, sources: Sources = BASE) -> Path | None:
    """A library of this source and these flags in the cache, by whatever compiler, or None.

    Raises:
        SparsebenchError: the cache cannot be made or written.
    """
    return newest_whole(cache_dir("kernels"), _stem(isa, dtype, sources))


def _flags(isa: str, dtype: str) -> tuple[str, ...]:
    for kind, name, known in (("instruction set", isa, FLAGS_OF_ISA), ("data type", dtype, DTYPES)):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    extra = shlex.split(os.environ.get("SPARSEBENCH_KERNEL_FLAGS", ""))
    return (*FLAGS, *FLAGS_OF_ISA[isa], *DTYPES[dtype], *extra)


def _stem(isa: str, dtype: str, sources: Sources) -> str:
    """The first part of a library's name: all that it depends on but the compiler."""
    # The processor's family, because homes are shared: "portable" is another code on each.
    digest = hashlib.sha256("\n".join((platform.machine(), *_flags(isa, dtype))).encode())
    for file in sources.files():
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"{sources.name}-{isa}-{dtype}-{digest.hexdigest()[:16]}"


def _compile(call: list[str], sources: Sources, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as scratch:
        objects = [Path(scratch) / f"{name}.o" for name, _, _ in sources.units]
        include = [f"-I{other}" for other in sources.includes]
        commands = [
            [*call, *include, define, "-c", str(sources.folder / source), "-o", str(out)]
            for (_, source, define), out in zip(sources.units, objects, strict=True)
        ]
        with ThreadPoolExecutor(usable_cpus()) as threads:
            list(threads.map(lambda command: _run(command, sources.title), commands))
        linked = Path(scratch) / f"{sources.name}.so"
        _run([*call, "-shared", *map(str, objects), "-o", str(linked)], sources.title)
        keep(linked, target)


def _run(command: list[str], title: str) -> None:
    done = _call(command)
    if done.returncode != 0:
        first = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr[:200])
        raise SparsebenchError(
            f"{command[0]} could not compile the {title}: {first.strip()}",
            "They need C++20: g++ 11 or clang++ 14 at least.",
        )


def _version(compiler: tuple[str, ...]) -> str:
    return _call([*compiler, "--version"]).stdout


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SparsebenchError(f"{command[0]} does not start: {error.strerror}.", _CXX) from error


def cpu_flags() -> set[str]:
    """What the first processor can do, as Linux names it; nothing where it does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
