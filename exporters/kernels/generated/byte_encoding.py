"""Instructions for sums of bytes, and for what makes bytes of such sums.

Source of the encodings: as :mod:`sparsebench.exporters.kernels.generated.encoding`; the VNNI
instruction (AVX512_VNNI) is in volume 2 under VPDPBUSD.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sparsebench.exporters.kernels.generated.encoding import (
    MAP_0F,
    MAP_0F38,
    PLAIN,
    PREFIX_66,
    R11,
    RAX,
    RDX,
    RSI,
    Slots,
    add_register,
    memory_form,
    register_form,
)


def dot_broadcast(total: ArrayLike, vector: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """Lanes of four bytes each: ``total += sum(vector[i] * weights[i] for i in 0..3)``.

    vpdpbusd zmm, zmm, m32{1to16}: bytes of the vector have no sign, weights do; products and
    sums are exact in 32 bits and wrap around beyond them, nothing saturates.

    Args:
        total: number of the zmm register of int32 lanes that is added to.
        vector: the register of activations.
        base: general register.
        place: -128..127, fours of weights from there.
    """
    return memory_form(0x50, MAP_0F38, PREFIX_66, total, vector, base, place, broadcast=True)


def to_float(register: ArrayLike, other: ArrayLike) -> Slots:
    """int32 to float32, rounded to the nearest: vcvtdq2ps zmm, zmm."""
    return register_form(0x5B, register, 0, other)


def to_integer(register: ArrayLike, other: ArrayLike) -> Slots:
    """float32 to int32, halves to the even one; -2**31 beyond the range: vcvtps2dq zmm, zmm."""
    return register_form(0x5B, register, 0, other, MAP_0F, PREFIX_66)


def multiply_broadcast(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``register *= float at [base + 4 * place]``: vmulps zmm, zmm, m32{1to16}."""
    return memory_form(0x59, MAP_0F, PLAIN, register, register, base, place, broadcast=True)


def add_broadcast(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``register += float at [base + 4 * place]``: vaddps zmm, zmm, m32{1to16}."""
    return memory_form(0x58, MAP_0F, PLAIN, register, register, base, place, broadcast=True)


def minimum_broadcast(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``register = min(register, float at [base + 4 * place])``: vminps zmm, zmm, m32{1to16}."""
    return memory_form(0x5D, MAP_0F, PLAIN, register, register, base, place, broadcast=True)


def maximum_broadcast(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``register = max(register, float at [base + 4 * place])``: vmaxps zmm, zmm, m32{1to16}."""
    return memory_form(0x5F, MAP_0F, PLAIN, register, register, base, place, broadcast=True)


def add_integer(register: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """``register += int32 at [base + 4 * place]``: vpaddd zmm, zmm, m32{1to16}."""
    return memory_form(0xFE, MAP_0F, PREFIX_66, register, register, base, place, broadcast=True)


def pack_words(register: ArrayLike, other: ArrayLike) -> Slots:
    """Of each 128 bits: four int32 of `register`, four of `other`, as int16, saturated.

    vpackssdw zmm, zmm, zmm, into `register`.
    """
    return register_form(0x6B, register, register, other, MAP_0F, PREFIX_66)


def pack_bytes(register: ArrayLike, other: ArrayLike) -> Slots:
    """Of each 128 bits: eight int16 of `register`, eight of `other`, as uint8, saturated.

    vpackuswb zmm, zmm, zmm, into `register`.
    """
    return register_form(0x67, register, register, other, MAP_0F, PREFIX_66)


def shuffle(register: ArrayLike, other: ArrayLike, base: int, place: ArrayLike) -> Slots:
    """Of each 128 bits of `other` the bytes that ``[base + 64 * place]`` names; 128 gives a zero.

    vpshufb zmm, zmm, m512.
    """
    return memory_form(0x00, MAP_0F38, PREFIX_66, register, other, base, place)


def scaled_residual(wider: bool, power: int = 2) -> Slots:
    """rax = where the residual of a place lies, for one of four times the outputs' bytes a place.

    rax = r11 - rsi (the output's offset), four times it or a fourth, plus rdx + rsi (the residual).

    Args:
        wider: whether the residual has four times the bytes, else a fourth of them.
        power: of two, that is four.
    """
    offset = (0x4C, 0x89, 0xD8, 0x48, 0x29, 0xF0, 0x90)  # mov rax, r11; sub rax, rsi; nop
    assert (RAX, RDX, RSI, R11) == (0, 2, 6, 11)
    # shl rax, 2 or sar rax, 2; add rax, rdx
    scaled = (0x48, 0xC1, 0xE0 if wider else 0xF8, power, 0x48, 0x01, 0xD0)
    return np.concatenate([np.array([offset, scaled], np.uint8), add_register(RAX, RSI)])
