"""The x86-64 and AVX-512 instructions that generated code is made of.

Every instruction of a kernel's body takes one *slot* of seven bytes, the length of an EVEX
instruction with an 8-bit displacement; shorter ones are filled up with a nop. So a place in the
code is an index into an array, and NumPy encodes millions of instructions at once: functions here
take integers or arrays of them and return ``uint8[n, 7]``.

Source of the encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
sections 2.7 (EVEX) and 2.7.5 (displacements compressed by the size of what is read).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SLOT = 7  # bytes
Slots = NDArray[np.uint8]

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 = range(12)

_NOP = 0x90
MAP_0F, MAP_0F38, MAP_0F3A = 1, 2, 3
PLAIN, PREFIX_66, PREFIX_F3 = 0, 1, 2


def fma_broadcast(total: ArrayLike, vector: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``total += vector * float at [base + 4 * place]``: vfmadd231ps zmm, zmm, m32{1to16}.

    Args:
        total: number of the zmm register that is added to.
        vector: the register that is multiplied.
        base: general register.
        place: -128..127, floats.
    """
    return memory_form(0xB8, MAP_0F38, PREFIX_66, total, vector, base, place, broadcast=True)


def fma_far(total: ArrayLike, vector: ArrayLike, base: int, offset: ArrayLike) -> Slots:
    """``total += vector * vector at [base + offset]``: vfmadd231ps zmm, zmm, m512.

    Args:
        total: number of the zmm register that is added to.
        vector: the register that is multiplied.
        base: general register.
        offset: bytes, of 32 bits.

    Returns:
        ``uint8[n, 10]``: the displacement takes four bytes.
    """
    return _far(memory_form(0xB8, MAP_0F38, PREFIX_66, total, vector, base, 0), offset)


def fma_near(total: ArrayLike, vector: ArrayLike, other: ArrayLike) -> Slots:
    """``total += vector * other``, registers all: vfmadd231ps zmm, zmm, zmm.

    Returns:
        ``uint8[n, 10]``, a nop of four bytes at the end.
    """
    return _filled(register_form(0xB8, total, vector, other, MAP_0F38, PREFIX_66))


def pairs_far(total: ArrayLike, vector: ArrayLike, base: int, offset: ArrayLike) -> Slots:
    """As :func:`fma_far` for pairs of bf16: each float lane adds two products, exact in float32.

    vdpbf16ps zmm, zmm, m512 (AVX512_BF16); numbers below the normal ones count as zero.
    """
    return _far(memory_form(0x52, MAP_0F38, PREFIX_F3, total, vector, base, 0), offset)


def pairs_near(total: ArrayLike, vector: ArrayLike, other: ArrayLike) -> Slots:
    """As :func:`fma_near` for pairs of bf16: vdpbf16ps zmm, zmm, zmm."""
    return _filled(register_form(0x52, total, vector, other, MAP_0F38, PREFIX_F3))


def load_far(register: ArrayLike, base: int, offset: ArrayLike) -> Slots:
    """The vector at ``[base + offset]``, as :func:`fma_far`: vmovups zmm, m512."""
    return _far(memory_form(0x10, MAP_0F, PLAIN, register, 0, base, 0), offset)


def broadcast(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """All lanes become the float at ``[base + 4 * place]``: vbroadcastss zmm, m32."""
    return memory_form(0x18, MAP_0F38, PREFIX_66, register, 0, base, place)


def load(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """The vector at ``[base + 64 * place]``: vmovups zmm, m512; `place` -128..127."""
    return memory_form(0x10, MAP_0F, PLAIN, register, 0, base, place)


def store(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """To ``[base + 64 * place]``: vmovups m512, zmm."""
    return memory_form(0x11, MAP_0F, PLAIN, register, 0, base, place)


def add_vector(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``register += vector at [base + 64 * place]``: vaddps zmm, zmm, m512."""
    return memory_form(0x58, MAP_0F, PLAIN, register, register, base, place)


def maximum(register: ArrayLike, other: ArrayLike) -> Slots:
    """``register = max(other, register)``; a NaN in `register` stays: vmaxps zmm, zmm, zmm."""
    return register_form(0x5F, register, other, register)


def minimum(register: ArrayLike, other: ArrayLike) -> Slots:
    """``register = min(other, register)``; a NaN in `register` stays: vminps zmm, zmm, zmm."""
    return register_form(0x5D, register, other, register)


def clear(register: ArrayLike) -> Slots:
    """``register = 0``: vxorps zmm, zmm, zmm."""
    return register_form(0x57, register, register, register)


def shift_left(register: ArrayLike, other: ArrayLike, bits: int) -> Slots:
    """``register = other << bits`` in lanes of 32 bits: vpslld zmm, zmm, imm8."""
    return _with_byte(register_form(0x72, 6, register, other, MAP_0F, PREFIX_66), bits)


def shift_right(register: ArrayLike, other: ArrayLike, bits: int) -> Slots:
    """The same to the right, zeros come from above: vpsrld zmm, zmm, imm8."""
    return _with_byte(register_form(0x72, 2, register, other, MAP_0F, PREFIX_66), bits)


def add_near(register: ArrayLike, other: ArrayLike) -> Slots:
    """``register += other``, float32: vaddps zmm, zmm, zmm."""
    return register_form(0x58, register, register, other)


def add_lanes(register: ArrayLike, other: ArrayLike) -> Slots:
    """``register += other``, whole numbers of 32 bits that wrap around: vpaddd zmm, zmm, zmm."""
    return register_form(0xFE, register, register, other, MAP_0F, PREFIX_66)


def subtract_lanes(register: ArrayLike, other: ArrayLike) -> Slots:
    """``register -= other``, as :func:`add_lanes`: vpsubd zmm, zmm, zmm."""
    return register_form(0xFA, register, register, other, MAP_0F, PREFIX_66)


def join_bits(register: ArrayLike, mask: ArrayLike, other: ArrayLike) -> Slots:
    """Bits of `register` where `mask` has ones, else those of `other`: vpternlogd zmm, zmm, zmm."""
    return _with_byte(register_form(0x25, register, mask, other, MAP_0F3A, PREFIX_66), 0xE2)


def address(register: int, base: int, offset: ArrayLike) -> Slots:
    """``register = base + offset`` bytes: lea r64, [r64 + disp32]."""
    assert base & 7 != RSP
    offsets = np.atleast_1d(np.asarray(offset, np.int64))
    assert np.array_equal(offsets, offsets.astype(np.int32))
    rex = 0x48 | (register >> 3) << 2 | base >> 3
    head = (rex, 0x8D, 0x80 | (register & 7) << 3 | base & 7)
    slots = np.empty((len(offsets), SLOT), np.uint8)
    slots[:, :3] = head
    slots[:, 3:] = offsets.astype("<i4")[:, None].view(np.uint8).reshape(-1, 4)
    return slots


def add_register(register: int, other: int) -> Slots:
    """``register += other``: add r64, r64, and a nop of four bytes."""
    code = (_rex(other, register), 0x01, 0xC0 | (other & 7) << 3 | register & 7)
    return np.array([[*code, 0x0F, 0x1F, 0x40, 0x00]], np.uint8)


def skip_unless(bits: int, bit: ArrayLike, slots: ArrayLike) -> Slots:
    """Two slots: jump over the next `slots` slots where bit `bit` of register `bits` is 0.

    bt r64, imm8; jnc rel32; a nop of three bytes.

    Args:
        bits: general register.
        bit: 0..63.
        slots: behind these two.

    Returns:
        ``uint8[n, 2, 7]``.
    """
    bit, slots = np.broadcast_arrays(np.atleast_1d(bit), np.atleast_1d(slots))
    code = np.empty((len(bit), 2 * SLOT), np.uint8)
    code[:, :4] = (0x48 | bits >> 3, 0x0F, 0xBA, 0xE0 | bits & 7)
    code[:, 4] = bit
    code[:, 5:7] = (0x0F, 0x83)
    distance = np.asarray(slots, np.int64) * SLOT + 3
    code[:, 7:11] = distance.astype("<i4")[:, None].view(np.uint8).reshape(-1, 4)
    code[:, 11:] = (0x0F, 0x1F, 0x00)
    return code.reshape(-1, 2, SLOT)


def loop(body: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A function that runs `body` for every entry of a table, between what is done once.

    C signature: ``void (const float* in, float* out, const float* residual, const float* weights,
    const Place* first, const Place* end)`` with at least one place (System V AMD64 ABI). A place
    is ``{int32 in, int32 out; uint64 bits}``, offsets in bytes. The body finds the input of its
    place in rbx, the output in r11, ``residual - out`` in rdx, the weights in rcx and the bits in
    rbp; rax, r10 and all zmm registers are its own. `before` and `after` find the weights in rcx.
    """
    head = bytes((0x53, 0x55))  # push rbx; push rbp
    head += bytes((0x48, 0x29, 0xF2))  # sub rdx, rsi
    once = bytes((0x49, 0x63, 0x18))  # movsxd rbx, [r8]
    once += bytes((0x48, 0x01, 0xFB))  # add rbx, rdi
    once += bytes((0x4D, 0x63, 0x58, 0x04))  # movsxd r11, [r8 + 4]
    once += bytes((0x49, 0x01, 0xF3))  # add r11, rsi
    once += bytes((0x49, 0x8B, 0x68, 0x08))  # mov rbp, [r8 + 8]
    once += body
    once += bytes((0x49, 0x83, 0xC0, 0x10))  # add r8, 16
    once += bytes((0x4D, 0x39, 0xC8))  # cmp r8, r9
    jump = bytes((0x0F, 0x85)) + (-len(once) - 6).to_bytes(4, "little", signed=True)  # jne
    tail = bytes((0x5D, 0x5B))  # pop rbp; pop rbx
    tail += bytes((0xC5, 0xF8, 0x77, 0xC3))  # vzeroupper; ret
    return head + before + once + jump + after + tail


# Numbers below the normal ones count as zeros while the places run, then as before.
# stmxcsr [rsp - 4]; mov eax, [rsp - 4]; or eax, 64; mov [rsp - 8], eax; ldmxcsr [rsp - 8]
_ZEROS = bytes.fromhex("0fae5c24fc 8b4424fc 83c840 894424f8 0fae5424f8")
DENORMALS_ARE_ZEROS = (_ZEROS, bytes.fromhex("0fae5424fc"))  # and ldmxcsr [rsp - 4]


def _rex(register: int, rm: int) -> int:
    return 0x48 | (register >> 3) << 2 | rm >> 3


def memory_form(
    opcode: int,
    table: int,
    prefix: int,
    register: ArrayLike,
    source: ArrayLike,
    base: int,
    place: ArrayLike,
    *,
    broadcast: bool = False,
) -> Slots:
    """EVEX.512 of a register, perhaps a second one, and memory at a compressed displacement."""
    assert base & 7 != RSP  # would need another byte
    reg, src, disp = (np.asarray(a, np.int16) for a in (register, source, place))
    last = np.where(disp < 0, disp + 256, disp)
    return _assemble(
        0x40 | _inverted(reg, 3) << 7 | (1 - (base >> 3)) << 5 | _inverted(reg, 4) << 4 | table,
        (~src & 15) << 3 | 4 | prefix,
        0x40 | broadcast << 4 | _inverted(src, 4) << 3,
        opcode,
        0x40 | (reg & 7) << 3 | base & 7,
        last,
    )


def _with_byte(near: Slots, byte: int) -> Slots:
    """Instructions of registers with a byte of their own instead of the nop."""
    near[:, SLOT - 1] = byte
    return near


def _filled(near: Slots) -> Slots:
    """Instructions of registers in ten bytes: a nop of four instead of the one of one."""
    nops = np.broadcast_to(np.array([0x0F, 0x1F, 0x40, 0x00], np.uint8), (len(near), 4))
    return np.concatenate([near[:, : SLOT - 1], nops], axis=1)


def _far(near: Slots, offset: ArrayLike) -> Slots:
    """Instructions with a displacement of one byte, zero, given one of four."""
    offsets = np.atleast_1d(np.asarray(offset, np.int64))
    assert np.array_equal(offsets, offsets.astype(np.int32))
    near, columns = np.broadcast_arrays(near, offsets[:, None])
    slots = np.empty((len(columns), SLOT + 3), np.uint8)
    slots[:, :SLOT] = near
    slots[:, SLOT - 2] += 0x40  # mod 01 becomes 10
    slots[:, SLOT - 1 :] = offsets.astype("<i4")[:, None].view(np.uint8).reshape(-1, 4)
    return slots


def register_form(
    opcode: int,
    register: ArrayLike,
    source: ArrayLike,
    rm: ArrayLike,
    table: int = MAP_0F,
    prefix: int = PLAIN,
) -> Slots:
    """EVEX.512 of three registers, and a nop."""
    reg, src, third = (np.asarray(a, np.int16) for a in (register, source, rm))
    return _assemble(
        _inverted(reg, 3) << 7
        | _inverted(third, 4) << 6
        | _inverted(third, 3) << 5
        | _inverted(reg, 4) << 4
        | table,
        (~src & 15) << 3 | 4 | prefix,
        0x40 | _inverted(src, 4) << 3,
        opcode,
        0xC0 | (reg & 7) << 3 | (third & 7),
        _NOP,
    )


def _inverted(value: NDArray[np.int16], bit: int) -> NDArray[np.int16]:
    found: NDArray[np.int16] = (~value >> bit) & 1
    return found


def _assemble(*parts: Any) -> Slots:
    # One number, or as many as the others: NumPy's own broadcasting takes longer than all else.
    counts = {np.size(part) for part in parts} - {1}
    slots = np.empty((counts.pop() if counts else 1, SLOT), np.uint8)
    slots[:, 0] = 0x62
    for i, part in enumerate(parts):
        slots[:, i + 1] = part
    return slots
