"""Every encoding for AVX2, byte by byte, against binutils."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sparsebench.exporters.kernels.generated import encoding as x86
from sparsebench.exporters.kernels.generated import vex_encoding as vex
from tests.exporters.kernels.generated.test_encoding import NAMES, assembled, operand

pytestmark = pytest.mark.skipif(shutil.which("as") is None, reason="no assembler")

FAR = (-(2**31), -32, 0, 1, 32, 2**31 - 1)


@pytest.mark.parametrize("base", [x86.RAX, x86.RBX, x86.R10])
def test_broadcasts_reach_bytes(base: int, tmp_path: Path) -> None:
    offsets = (-128, -4, 0, 4, 124)
    registers, places = np.repeat(np.arange(16), len(offsets)), np.tile(offsets, 16)
    lines = [
        f"{{disp8}} vbroadcastss ymm{r}, dword ptr {operand(base, p)}"
        for r, p in zip(registers, places, strict=True)
    ]
    found = vex.broadcast(registers, base, places)
    assert found.shape == (80, 6)
    assert found.tobytes() == assembled("\n".join(lines), tmp_path)


@pytest.mark.parametrize("base", [x86.RAX, x86.RBX])
def test_vectors_in_memory_are_reached_from_afar(base: int, tmp_path: Path) -> None:
    registers, places = np.repeat(np.arange(16), len(FAR)), np.tile(FAR, 16)
    others = (registers * 7 + 5) % 16
    cases = (
        ("vfmadd231ps ymm{r}, ymm{o}, {m}", vex.fma_memory(registers, others, base, places), 9),
        ("vmovups ymm{r}, {m}", vex.load(registers, base, places), 8),
        ("vmovups {m}, ymm{r}", vex.store(registers, base, places), 8),
        ("vaddps ymm{r}, ymm{r}, {m}", vex.add_vector(registers, base, places), 8),
    )
    for template, found, length in cases:
        lines = [
            "{disp32} " + template.format(r=r, o=o, m=operand(base, p))
            for r, o, p in zip(registers, others, places, strict=True)
        ]
        assert found.shape == (96, length)
        assert found.tobytes() == assembled("\n".join(lines), tmp_path), template


def test_vectors_in_registers(tmp_path: Path) -> None:
    first, second = np.repeat(np.arange(16), 16), np.tile(np.arange(16), 16)
    third = (first * 3 + second) % 16
    three = zip(first, second, third, strict=True)
    lines = [f"vfmadd231ps ymm{r}, ymm{o}, ymm{t}" for r, o, t in three]
    found = vex.fma(first, second, third)
    assert found.tobytes() == assembled("\n".join(lines), tmp_path)
    for name, made in {"vmaxps": vex.maximum, "vminps": vex.minimum}.items():
        pairs = zip(first, second, strict=True)
        lines = [f"{{vex3}} {name} ymm{r}, ymm{o}, ymm{r}" for r, o in pairs]
        assert made(first, second).tobytes() == assembled("\n".join(lines), tmp_path), name
    lines = [f"{{vex3}} vxorps ymm{r}, ymm{r}, ymm{r}" for r in range(16)]
    assert vex.clear(np.arange(16)).tobytes() == assembled("\n".join(lines), tmp_path)


@pytest.mark.parametrize("bits", [x86.RBP, x86.R11])
def test_a_skip_jumps_over_bytes(bits: int, tmp_path: Path) -> None:
    for bit, distance in ((0, 1), (63, 3000), (31, 0)):
        # Short distances have a shorter jump in the assembler: it is told the long one's bytes.
        long = f"bt {NAMES[bits]}, {bit}\n.byte 0x0f, 0x83\n.long behind - 1f\n1:\n"
        expected = assembled(f"{long}.fill {distance}, 1, 0x90\nbehind:", tmp_path)
        assert vex.skip_unless(bits, bit, distance).tobytes() + b"\x90" * distance == expected
