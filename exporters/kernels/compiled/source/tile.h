// The inner loops: one tile in registers against one channel's non-zeros.
#pragma once

#include "plan.h"

template <int NB, int R, int C>
struct TileOps {
    static constexpr int T = NB * R * C;

    template <class F>
    static INLINE void each(F f) {
#pragma GCC unroll 8
        for (int b = 0; b < NB; ++b)
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
                for (int c = 0; c < C; ++c) f((b * R + r) * C + c, b, r, c);
    }

    // f(index, address of the other tensor) for the part of the tile that KIND names.
    template <int S, int KIND, class F>
    static INLINE void part(const Plan& plan, const real* p, F f) {
        constexpr int r0 = KIND / 3 == 1, r1 = R - (KIND / 3 == 2);
        constexpr int c0 = KIND % 3 == 1, c1 = C - (KIND % 3 == 2);
#pragma GCC unroll 8
        for (int b = 0; b < NB; ++b)
#pragma GCC unroll 8
            for (int r = r0; r < r1; ++r) {
                const real* q = p + b * plan.other_block + r * plan.other_row;
#pragma GCC unroll 16
                for (int c = c0; c < c1; ++c) f((b * R + r) * C + c, q + c * (S * VL));
            }
    }

    static INLINE void fetch(const Plan& plan, const real* own, vec* into) {
        each([&](int i, int b, int r, int c) {
            into[i] = load(own + b * plan.own_block + r * plan.own_row + c * plan.own_column);
        });
    }

    static INLINE void put(const Plan& plan, real* own, const vec* from) {
        each([&](int i, int b, int r, int c) {
            store(own + b * plan.own_block + r * plan.own_row + c * plan.own_column, from[i]);
        });
    }

    // Asks for what the next tile will read of the other tensor; every own channel asks for
    // its share of the other channels, so that the requests are spread over the whole tile.
    template <int S>
    static INLINE void ask(const Plan& plan, const real* next, int row) {
        const int64_t first = plan.other_channels * row / plan.rows;
        const int64_t end = plan.other_channels * (row + 1) / plan.rows;
        for (int64_t channel = first; channel < end; ++channel) {
            const real* p = next + channel * plan.other_channel + plan.ahead;
            for (int b = 0; b < NB; ++b)
                for (int r = 0; r < R; ++r) {
                    const real* q = p + b * plan.other_block + r * plan.other_row;
#pragma GCC unroll 16
                    for (int c = 0; c < C; ++c) __builtin_prefetch(q + c * (S * VL), 0, 2);
                }
        }
    }

    static INLINE void ask_own(const Plan& plan, const real* own) {
        each([&](int, int b, int r, int c) {
            __builtin_prefetch(own + b * plan.own_block + r * plan.own_row + c * plan.own_column,
                               1, 2);
        });
    }

    // Independent sums of a small tile: a multiply-add takes four cycles, and fewer sums than
    // that would wait for each other.
    static constexpr int U = 4 * T <= MOST_FORWARD ? 4 : 2 * T <= MOST_FORWARD ? 2 : 1;

    // sums[i] += weight * other, for the entries of one run; sums[U][T] are added up later.
    template <int S, int KIND>
    static INLINE void accumulate(const Plan& plan, const Entry* e, const Entry* end,
                                  const real* other, vec* sums) {
        const auto one = [&](const Entry& entry, vec* into) {
            const vec w = splat(entry.weight);
            part<S, KIND>(plan, other + entry.offset,
                          [&](int i, const real* q) { into[i] += w * load_any(q); });
        };
        if constexpr (U > 1) {
            for (; end - e >= U; e += U)
#pragma GCC unroll 4
                for (int u = 0; u < U; ++u) one(e[u], sums + u * T);
        }
        for (; e != end; ++e) one(*e, sums);
    }

    // The same for K channels whose entries are at the same places: what is read of the other
    // tensor serves all of them.
    template <int S, int KIND, int K>
    static INLINE void accumulate_alike(const Plan& plan, const Entry* const* e, int64_t count,
                                        const real* other, vec* sums) {
        for (int64_t n = 0; n < count; ++n) {
            vec w[K];
#pragma GCC unroll 4
            for (int k = 0; k < K; ++k) w[k] = splat(e[k][n].weight);
            part<S, KIND>(plan, other + e[0][n].offset, [&](int i, const real* q) {
                const vec v = load_any(q);
#pragma GCC unroll 4
                for (int k = 0; k < K; ++k) sums[k * T + i] += w[k] * v;
            });
        }
    }

    // grads[entry] += <own, other>; with INPUT also sums[i] += weight * other.
    template <int S, int KIND, bool INPUT>
    static INLINE void correlate(const Plan& plan, const Entry* e, const Entry* end,
                                 const real* other, const vec* own, vec* sums, real* grads) {
        for (; end - e >= 4; e += 4, grads += 4) {
            vec dots[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k)
                dots[k] = one<S, KIND, INPUT>(plan, e[k], other, own, sums);
            add_lane_sums(dots, grads);
        }
        if (e != end) {
            vec dots[4] = {};
            real rest[4] = {};
            const int count = static_cast<int>(end - e);
            dots[0] = one<S, KIND, INPUT>(plan, e[0], other, own, sums);
            if (count > 1) dots[1] = one<S, KIND, INPUT>(plan, e[1], other, own, sums);
            if (count > 2) dots[2] = one<S, KIND, INPUT>(plan, e[2], other, own, sums);
            add_lane_sums(dots, rest);
            for (int k = 0; k < count; ++k) grads[k] += rest[k];
        }
    }

    template <int S, int KIND, bool INPUT>
    static INLINE vec one(const Plan& plan, const Entry& e, const real* other, const vec* own,
                          vec* sums) {
        vec dot = {};
        const vec w = INPUT ? splat(e.weight) : vec{};
        part<S, KIND>(plan, other + e.offset, [&](int i, const real* q) {
            const vec v = load(q);
            dot += own[i] * v;
            if (INPUT) sums[i] += w * v;
        });
        return dot;
    }
};

// Calls f.operator()<KIND>() for the kinds that make sense for a tile of R x C.
template <int R, int C, class F>
static INLINE void with_kind(int kind, F f) {
    if (kind == 0) return f.template operator()<0>();
    if constexpr (C > 1) {
        if (kind == 1) return f.template operator()<1>();
        if (kind == 2) return f.template operator()<2>();
    }
    if constexpr (R > 1) {
        if (kind == 3) return f.template operator()<3>();
        if (kind == 6) return f.template operator()<6>();
    }
    if constexpr (R > 1 && C > 1) {
        if (kind == 4) return f.template operator()<4>();
        if (kind == 5) return f.template operator()<5>();
        if (kind == 7) return f.template operator()<7>();
        if (kind == 8) return f.template operator()<8>();
    }
}
