// Tables of the kernels by tile shape. Each PART is a library of its own: they take long to compile,
// and only what is called needs to be.
#include "convolve.h"

// Tiles that do not fit the registers are never planned, and not compiled either.
template <int NB, int R, int C, int S>
static constexpr decltype(&forward_tile<1, 1, 1, 1>) forward_or_none() {
    if constexpr (NB * R * C <= MOST_FORWARD) return &forward_tile<NB, R, C, S>;
    return nullptr;
}
template <int NB, int R, int C, int S, bool INPUT, int MOST>
static constexpr decltype(&backward_tile<1, 1, 1, 1, true>) backward_or_none() {
    if constexpr (NB * R * C <= MOST) return &backward_tile<NB, R, C, S, INPUT>;
    return nullptr;
}

#define FORWARD1(I, NB, R, C) forward_or_none<NB, R, C, 1>(),
#define FORWARD2(I, NB, R, C) forward_or_none<NB, R, C, 2>(),
#define BACKWARD(I, NB, R, C) backward_or_none<NB, R, C, 1, true, MOST_BACKWARD>(),
#define WEIGHTS1(I, NB, R, C) backward_or_none<NB, R, C, 1, false, MOST_FORWARD>(),
#define WEIGHTS2(I, NB, R, C) backward_or_none<NB, R, C, 2, false, MOST_FORWARD>(),

extern "C" {
#if PART == 0
void sparse_forward1(const Plan* plan, const Forward* call, int threads) {
    static constexpr decltype(&forward_tile<1, 1, 1, 1>) table[] = {SHAPES(FORWARD1)};
    over_tiles(*plan, threads, table, *call);
}
#elif PART == 1
void sparse_forward2(const Plan* plan, const Forward* call, int threads) {
    static constexpr decltype(&forward_tile<1, 1, 1, 2>) table[] = {SHAPES(FORWARD2)};
    over_tiles(*plan, threads, table, *call);
}
#elif PART == 2
void sparse_backward(const Plan* plan, const Backward* call, int threads) {
    static constexpr decltype(&backward_tile<1, 1, 1, 1, true>) table[] = {SHAPES(BACKWARD)};
    over_tiles(*plan, threads, table, *call);
}
#elif PART == 3
void sparse_weights1(const Plan* plan, const Backward* call, int threads) {
    static constexpr decltype(&backward_tile<1, 1, 1, 1, false>) table[] = {SHAPES(WEIGHTS1)};
    over_tiles(*plan, threads, table, *call);
}
#elif PART == 4
void sparse_weights2(const Plan* plan, const Backward* call, int threads) {
    static constexpr decltype(&backward_tile<1, 1, 1, 2, false>) table[] = {SHAPES(WEIGHTS2)};
    over_tiles(*plan, threads, table, *call);
}
#endif
}
