"""The AVX2 instructions that generated code is made of: VEX, 256 bits, 8 floats.

As in :mod:`sparsebench.exporters.kernels.generated.encoding`, functions take integers or arrays of
them and encode one instruction for each. Here instructions are as long as they are: nothing is
filled up, because code is fetched more slowly than 8 floats are multiplied.

Source of the encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
section 2.3 (VEX). A displacement of 8 bits counts bytes here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.exporters.kernels.generated.encoding import RBP, RSP

Bytes = NDArray[np.uint8]
_MAP_0F38, _PREFIX_66, _WIDE = 2, 1, 4


def broadcast(register: ArrayLike, base: int, offset: ArrayLike) -> Bytes:
    """All lanes become the float at ``[base + offset]``, -128..127 bytes: vbroadcastss ymm, m32.

    Returns:
        ``uint8[n, 6]``.
    """
    assert base & 7 != RSP
    reg, disp = _numbers(register, offset)
    head = (_extended(reg, base), 0x78 | _WIDE | _PREFIX_66, 0x18)
    return _joined(0xC4, *head, 0x40 | (reg & 7) << 3 | base & 7, disp & 255)


def fma(total: ArrayLike, first: ArrayLike, second: ArrayLike) -> Bytes:
    """``total += first * second``, registers all: vfmadd231ps ymm, ymm, ymm.

    Returns:
        ``uint8[n, 5]``.
    """
    reg, src, third = _numbers(total, first, second)
    head = (_extended(reg, third), _second(src, _PREFIX_66), 0xB8)
    return _joined(0xC4, *head, 0xC0 | (reg & 7) << 3 | third & 7)


def fma_memory(total: ArrayLike, first: ArrayLike, base: int, offset: ArrayLike) -> Bytes:
    """``total += first * vector at [base + offset]``: vfmadd231ps ymm, ymm, m256.

    Args:
        total: number of the register that is added to.
        first: the register that is multiplied.
        base: general register.
        offset: bytes, of 32 bits.

    Returns:
        ``uint8[n, 9]``.
    """
    assert base & 7 != RSP
    reg, src = _numbers(total, first)
    head = (_extended(reg, base), _second(src, _PREFIX_66), 0xB8)
    return _far((0xC4, *head, 0x80 | (reg & 7) << 3 | base & 7), offset)


def load(register: ArrayLike, base: int, offset: ArrayLike) -> Bytes:
    """The vector at ``[base + offset]``: vmovups ymm, m256.

    Args:
        register: number of the ymm register.
        base: one of the first eight general registers.
        offset: bytes, of 32 bits.

    Returns:
        ``uint8[n, 8]``, as :func:`store` and :func:`add_vector`.
    """
    return _short(0x10, register, 0, base, offset)


def store(register: ArrayLike, base: int, offset: ArrayLike) -> Bytes:
    """To ``[base + offset]``: vmovups m256, ymm."""
    return _short(0x11, register, 0, base, offset)


def add_vector(register: ArrayLike, base: int, offset: ArrayLike) -> Bytes:
    """``register += vector at [base + offset]``: vaddps ymm, ymm, m256."""
    return _short(0x58, register, register, base, offset)


def maximum(register: ArrayLike, other: ArrayLike) -> Bytes:
    """``register = max(other, register)``; a NaN in `register` stays: vmaxps ymm, ymm, ymm.

    Returns:
        ``uint8[n, 5]``, as :func:`minimum` and :func:`clear`.
    """
    return _registers(0x5F, register, other, register)


def minimum(register: ArrayLike, other: ArrayLike) -> Bytes:
    """``register = min(other, register)``; a NaN in `register` stays: vminps ymm, ymm, ymm."""
    return _registers(0x5D, register, other, register)


def clear(register: ArrayLike) -> Bytes:
    """``register = 0``: vxorps ymm, ymm, ymm."""
    return _registers(0x57, register, register, register)


def skip_unless(bits: int, bit: ArrayLike, distance: ArrayLike) -> Bytes:
    """Jump over the next `distance` bytes where bit `bit` of register `bits` is 0.

    bt r64, imm8; jnc rel32.

    Returns:
        ``uint8[n, 11]``.
    """
    (which,) = _numbers(bit)
    head = (0x48 | bits >> 3, 0x0F, 0xBA, 0xE0 | bits & 7, which, 0x0F, 0x83)
    return _far(head, distance)


def _numbers(*values: ArrayLike) -> list[NDArray[np.int64]]:
    return [np.asarray(value, np.int64) for value in values]


def _extended(reg: NDArray[np.int64], rm: ArrayLike) -> NDArray[np.int64]:
    """The second byte: high bits of both registers, inverted, and the table of opcodes."""
    high: NDArray[np.int64] = np.asarray(rm, np.int64) >> 3
    found: NDArray[np.int64] = (1 - (reg >> 3)) << 7 | 0x40 | (1 - high) << 5 | _MAP_0F38
    return found


def _second(source: NDArray[np.int64], prefix: int) -> NDArray[np.int64]:
    """The byte of the second register, inverted, the width and the prefix."""
    found: NDArray[np.int64] = (~source & 15) << 3 | _WIDE | prefix
    return found


def _short(
    opcode: int, register: ArrayLike, source: ArrayLike, base: int, offset: ArrayLike
) -> Bytes:
    """VEX of two bytes: opcode of the first table, memory at a base that needs no high bit."""
    assert base < 8 and base not in (RSP, RBP)
    reg, src = _numbers(register, source)
    head = (0xC5, (1 - (reg >> 3)) << 7 | _second(src, 0), opcode)
    return _far((*head, 0x80 | (reg & 7) << 3 | base), offset)


def _registers(opcode: int, register: ArrayLike, source: ArrayLike, rm: ArrayLike) -> Bytes:
    reg, src, third = _numbers(register, source, rm)
    head = (0xC4, _extended(reg, third) ^ _MAP_0F38 ^ 1, _second(src, 0), opcode)
    return _joined(*head, 0xC0 | (reg & 7) << 3 | third & 7)


def _far(head: tuple[Any, ...], offset: ArrayLike) -> Bytes:
    """Bytes and behind them a number of 32 bits."""
    offsets = np.atleast_1d(np.asarray(offset, np.int64))
    assert np.array_equal(offsets, offsets.astype(np.int32))
    return _joined(*head, *(offsets >> shift & 255 for shift in (0, 8, 16, 24)))


def _joined(*parts: Any) -> Bytes:
    arrays = np.broadcast_arrays(*map(np.atleast_1d, parts))
    found = np.empty((len(arrays[0]), len(arrays)), np.uint8)
    for i, array in enumerate(arrays):
        found[:, i] = array
    return found
