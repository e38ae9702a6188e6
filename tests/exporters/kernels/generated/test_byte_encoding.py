"""The instructions of INT8, byte by byte, against binutils."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sparsebench.exporters.kernels.generated import byte_encoding as x86
from sparsebench.exporters.kernels.generated.encoding import R10, R11, RAX, RCX
from tests.exporters.kernels.generated.test_encoding import PLACES, assembled, operand

pytestmark = pytest.mark.skipif(shutil.which("as") is None, reason="no assembler")


@pytest.mark.parametrize("base", [RAX, RCX, R10, R11])
def test_bytes_and_memory(base: int, tmp_path: Path) -> None:
    registers = np.repeat(np.arange(32), len(PLACES))
    places, others = np.tile(PLACES, 32), (registers * 7 + 5) % 32
    near = "dword ptr {near}{{1to16}}"
    groups = {
        f"vpdpbusd zmm{{r}}, zmm{{o}}, {near}": x86.dot_broadcast(registers, others, base, places),
        f"vmulps zmm{{r}}, zmm{{r}}, {near}": x86.multiply_broadcast(registers, base, places),
        f"vaddps zmm{{r}}, zmm{{r}}, {near}": x86.add_broadcast(registers, base, places),
        f"vminps zmm{{r}}, zmm{{r}}, {near}": x86.minimum_broadcast(registers, base, places),
        f"vmaxps zmm{{r}}, zmm{{r}}, {near}": x86.maximum_broadcast(registers, base, places),
        f"vpaddd zmm{{r}}, zmm{{r}}, {near}": x86.add_integer(registers, base, places),
        "vpshufb zmm{r}, zmm{o}, {far}": x86.shuffle(registers, others, base, places),
    }
    for template, found in groups.items():
        lines = [
            "{disp8} "
            + template.format(r=r, o=o, near=operand(base, 4 * p), far=operand(base, 64 * p))
            for r, o, p in zip(registers, others, places, strict=True)
        ]
        assert found.tobytes() == assembled("\n".join(lines), tmp_path), template


def test_bytes_in_registers(tmp_path: Path) -> None:
    first, second = np.repeat(np.arange(32), 32), np.tile(np.arange(32), 32)
    for template, found in {
        "vcvtdq2ps zmm{r}, zmm{o}": x86.to_float(first, second),
        "vcvtps2dq zmm{r}, zmm{o}": x86.to_integer(first, second),
        "vpackssdw zmm{r}, zmm{r}, zmm{o}": x86.pack_words(first, second),
        "vpackuswb zmm{r}, zmm{r}, zmm{o}": x86.pack_bytes(first, second),
    }.items():
        pairs = zip(first, second, strict=True)
        lines = [template.format(r=r, o=o) + "; nop" for r, o in pairs]
        assert found.tobytes() == assembled("\n".join(lines), tmp_path), template


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("wider", "shift"), [(True, "shl"), (False, "sar")])
def test_the_place_of_a_residual(wider: bool, shift: str, power: int, tmp_path: Path) -> None:
    shifted = f"{shift} rax, 2"
    if power == 1:  # the assembler would take the shorter form of a shift by one
        shifted = f".byte 0x48, 0xc1, {'0xe0' if wider else '0xf8'}, 1"
    source = f"""
        mov rax, r11
        sub rax, rsi
        nop
        {shifted}
        add rax, rdx
        add rax, rsi
        .byte 0x0f, 0x1f, 0x40, 0x00
    """
    assert x86.scaled_residual(wider, power).tobytes() == assembled(source, tmp_path)
