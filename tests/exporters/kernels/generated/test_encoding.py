"""Every encoding, byte by byte, against binutils."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sparsebench.exporters.kernels.generated import encoding as x86

pytestmark = pytest.mark.skipif(shutil.which("as") is None, reason="no assembler")

NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11")
PLACES = (-128, -1, 0, 1, 127)


def assembled(source: str, folder: Path) -> bytes:
    text, made, code = (folder / name for name in ("a.s", "a.o", "a.bin"))
    text.write_text(f".intel_syntax noprefix\n{source}\n")
    subprocess.run(["as", "--64", str(text), "-o", str(made)], check=True)
    command = ["objcopy", "-O", "binary", "-j", ".text", str(made), str(code)]
    subprocess.run(command, check=True)
    return code.read_bytes()


def operand(base: int, offset: int) -> str:
    return f"[{NAMES[base]} {'-' if offset < 0 else '+'} {abs(offset)}]"


@pytest.mark.parametrize("base", [x86.RAX, x86.RBX, x86.RBP, x86.R8, x86.R10, x86.R11])
def test_vectors_and_memory(base: int, tmp_path: Path) -> None:
    registers = np.repeat(np.arange(32), len(PLACES))
    places, others = np.tile(PLACES, 32), (registers * 7 + 5) % 32
    groups = {
        "vfmadd231ps zmm{r}, zmm{o}, dword ptr {near}{{1to16}}": x86.fma_broadcast(
            registers, others, base, places
        ),
        "vbroadcastss zmm{r}, dword ptr {near}": x86.broadcast(registers, base, places),
        "vmovups zmm{r}, {far}": x86.load(registers, base, places),
        "vmovups {far}, zmm{r}": x86.store(registers, base, places),
        "vaddps zmm{r}, zmm{r}, {far}": x86.add_vector(registers, base, places),
    }
    for template, found in groups.items():
        lines = [
            "{disp8} "
            + template.format(r=r, o=o, near=operand(base, 4 * p), far=operand(base, 64 * p))
            for r, o, p in zip(registers, others, places, strict=True)
        ]
        assert found.tobytes() == assembled("\n".join(lines), tmp_path), template


def test_far_vectors_and_registers_take_ten_bytes(tmp_path: Path) -> None:
    offsets = (-(2**31), -64, 0, 1, 64, 2**31 - 1)
    registers = np.repeat(np.arange(32), len(offsets))
    places, others = np.tile(offsets, 32), (registers * 7 + 5) % 32
    for base in (x86.RBX, x86.R11):
        cases = (
            ("vfmadd231ps zmm{r}, zmm{o}, {m}", x86.fma_far(registers, others, base, places)),
            ("vmovups zmm{r}, {m}", x86.load_far(registers, base, places)),
            ("vdpbf16ps zmm{r}, zmm{o}, {m}", x86.pairs_far(registers, others, base, places)),
        )
        for template, found in cases:
            lines = [
                "{disp32} " + template.format(r=r, o=o, m=operand(base, p))
                for r, o, p in zip(registers, others, places, strict=True)
            ]
            assert found.tobytes() == assembled("\n".join(lines), tmp_path), template
    thirds = (registers * 11 + 3) % 32
    for name, near in (("vfmadd231ps", x86.fma_near), ("vdpbf16ps", x86.pairs_near)):
        lines = [
            f"{name} zmm{r}, zmm{o}, zmm{t}; .byte 0x0f, 0x1f, 0x40, 0x00"
            for r, o, t in zip(registers, others, thirds, strict=True)
        ]
        found = near(registers, others, thirds)
        assert found.tobytes() == assembled("\n".join(lines), tmp_path)


def test_vectors_in_registers(tmp_path: Path) -> None:
    first = np.repeat(np.arange(32), 32)
    second = np.tile(np.arange(32), 32)
    for name, found in {
        "vmaxps": x86.maximum(first, second),
        "vminps": x86.minimum(first, second),
    }.items():
        pairs = zip(first, second, strict=True)
        lines = [f"{name} zmm{r}, zmm{o}, zmm{r}; nop" for r, o in pairs]
        assert found.tobytes() == assembled("\n".join(lines), tmp_path), name
    lines = [f"vxorps zmm{r}, zmm{r}, zmm{r}; nop" for r in range(32)]
    assert x86.clear(np.arange(32)).tobytes() == assembled("\n".join(lines), tmp_path)


def test_lanes_of_whole_numbers(tmp_path: Path) -> None:
    first, second = np.repeat(np.arange(32), 32), np.tile(np.arange(32), 32)
    thirds = (first * 11 + second + 3) % 32
    for template, found in {
        "vaddps zmm{r}, zmm{r}, zmm{o}; nop": x86.add_near(first, second),
        "vpaddd zmm{r}, zmm{r}, zmm{o}; nop": x86.add_lanes(first, second),
        "vpsubd zmm{r}, zmm{r}, zmm{o}; nop": x86.subtract_lanes(first, second),
        "vpslld zmm{r}, zmm{o}, 16": x86.shift_left(first, second, 16),
        "vpsrld zmm{r}, zmm{o}, 31": x86.shift_right(first, second, 31),
        "vpternlogd zmm{r}, zmm{o}, zmm{t}, 0xe2": x86.join_bits(first, second, thirds),
    }.items():
        every = zip(first, second, thirds, strict=True)
        lines = [template.format(r=r, o=o, t=t) for r, o, t in every]
        assert found.tobytes() == assembled("\n".join(lines), tmp_path), template


def test_numbers_below_the_normal_ones_are_zeros_between_two_pieces(tmp_path: Path) -> None:
    before = """
        stmxcsr [rsp - 4]
        mov eax, [rsp - 4]
        or eax, 0x40
        mov [rsp - 8], eax
        ldmxcsr [rsp - 8]
    """
    assert x86.DENORMALS_ARE_ZEROS[0] == assembled(before, tmp_path)
    assert x86.DENORMALS_ARE_ZEROS[1] == assembled("ldmxcsr [rsp - 4]", tmp_path)


def test_addresses(tmp_path: Path) -> None:
    offsets = (-(2**31), -129, -1, 0, 1, 4096, 2**31 - 1)
    pairs = [(r, b) for r in range(12) for b in range(12) if b != x86.RSP]
    found = b"".join(x86.address(r, b, offsets).tobytes() for r, b in pairs)
    lines = [f"{{disp32}} lea {NAMES[r]}, {operand(b, o)}" for r, b in pairs for o in offsets]
    assert found == assembled("\n".join(lines), tmp_path)
    found = b"".join(x86.add_register(r, b).tobytes() for r, b in pairs)
    lines = [f"add {NAMES[r]}, {NAMES[b]}; .byte 0x0f, 0x1f, 0x40, 0x00" for r, b in pairs]
    assert found == assembled("\n".join(lines), tmp_path)


@pytest.mark.parametrize("bits", [x86.RAX, x86.RBP, x86.R11])
def test_a_skip_jumps_over_whole_slots(bits: int, tmp_path: Path) -> None:
    for bit, slots in ((0, 1), (63, 300), (31, 0)):
        nops = ".fill 7, 1, 0x90\n" * slots
        # Short distances have a shorter jump in the assembler: it is told the long one's bytes.
        long = f"bt {NAMES[bits]}, {bit}\n.byte 0x0f, 0x83\n.long behind - 1f\n1:\n"
        expected = assembled(f"{long}nop dword ptr [rax]\n{nops}behind:", tmp_path)
        found = x86.skip_unless(bits, bit, slots).tobytes() + b"\x90" * (7 * slots)
        assert found == expected


def test_the_loop_over_places(tmp_path: Path) -> None:
    source = f"""
        push rbx
        push rbp
        sub rdx, rsi
    again:
        movsxd rbx, dword ptr [r8]
        add rbx, rdi
        movsxd r11, dword ptr [r8 + 4]
        add r11, rsi
        mov rbp, [r8 + 8]
        {".fill 700, 1, 0x90"}
        add r8, 16
        cmp r8, r9
        jne again
        pop rbp
        pop rbx
        vzeroupper
        ret
    """
    assert x86.loop(b"\x90" * 700) == assembled(source, tmp_path)
