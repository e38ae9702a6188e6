// Loops over tiles, channel blocks and channels around the inner loops.
#pragma once

#include "pool.h"
#include "tile.h"

struct Forward {
    const real* other;
    real* own;
    const real* bias;      // per own channel, or null
    const real* residual;  // in the layout of `own`, or null: added before the activation
    int act;
};

// Channels [row, row + K) of one tile. K > 1: their entries are at the same places.
template <int NB, int R, int C, int S, int K>
static INLINE void forward_rows(const Plan& plan, const Tile& tile, const Run* first,
                                const Run* last, int block, int row, const Forward& call) {
    using Ops = TileOps<NB, R, C>;
    constexpr int T = Ops::T, U = K == 1 ? Ops::U : K;
    const real* other = call.other + tile.other;
    const bool final_block = block == plan.blocks - 1;
    const int32_t* starts = plan.starts + (int64_t(block) * plan.rows + row) * (plan.taps + 1);
    real* own = call.own + tile.own + row * plan.own_channel;
    if (block != 0 && starts[0] == starts[plan.taps] && !final_block) return;
    vec sums[U * T];
#pragma GCC unroll 4
    for (int k = 0; k < U; ++k) {
        if (k >= K) {
            Ops::each([&](int i, int, int, int) { sums[k * T + i] = vec{}; });
        } else if (block == 0) {
            const vec start = splat(call.bias ? call.bias[row + k] : real(0));
            Ops::each([&](int i, int, int, int) { sums[k * T + i] = start; });
        } else {
            Ops::fetch(plan, own + k * plan.own_channel, sums + k * T);
        }
    }
    for (const Run* run = first; run != last; ++run) {
        const Entry* e[K];
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k)
            e[k] = plan.entries + starts[k * (plan.taps + 1) + run->begin];
        const int64_t count = starts[run->end] - starts[run->begin];
        with_kind<R, C>(run->kind, [&]<int KIND>() {
            if constexpr (K == 1)
                Ops::template accumulate<S, KIND>(plan, e[0], e[0] + count, other, sums);
            else
                Ops::template accumulate_alike<S, KIND, K>(plan, e, count, other, sums);
        });
    }
    if constexpr (K == 1 && U > 1) {
#pragma GCC unroll 4
        for (int u = 1; u < U; ++u)
            Ops::each([&](int i, int, int, int) { sums[i] += sums[u * T + i]; });
    }
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) {
        vec* mine = sums + k * T;
        const int64_t place = tile.own + (row + k) * plan.own_channel;
        if (final_block) {
            if (call.residual)
                Ops::each([&](int i, int b, int r, int c) {
                    mine[i] += load(call.residual + place + b * plan.own_block +
                                    r * plan.own_row + c * plan.own_column);
                });
            if (call.act != ACT_NONE)
                Ops::each([&](int i, int, int, int) { mine[i] = activate(mine[i], call.act); });
            if (plan.mask)
                Ops::each([&](int i, int, int, int c) {
                    mine[i] = keep(mine[i], plan.mask + tile.own + c * plan.own_column);
                });
        }
        Ops::put(plan, own + k * plan.own_channel, mine);
    }
}

template <int NB, int R, int C, int S>
static void forward_tile(const Plan& plan, const Tile& tile, const Tile* next, int block, int row0,
                         int row1, const Forward& call) {
    using Ops = TileOps<NB, R, C>;
    const Run* first = plan.runs + plan.run_sets[tile.runs];
    const Run* last = plan.runs + plan.run_sets[tile.runs + 1];
    const bool ask = next && block == plan.blocks - 1;
    int row = row0;
    if constexpr (ALIKE * Ops::T <= MOST_ALIKE) {
        for (; plan.alike && row + ALIKE <= row1; row += ALIKE) {
            if (ask)
                for (int k = 0; k < ALIKE; ++k)
                    Ops::template ask<S>(plan, call.other + next->other, row + k);
            forward_rows<NB, R, C, S, ALIKE>(plan, tile, first, last, block, row, call);
        }
    }
    for (; row < row1; ++row) {
        if (ask) Ops::template ask<S>(plan, call.other + next->other, row);
        forward_rows<NB, R, C, S, 1>(plan, tile, first, last, block, row, call);
    }
}

struct Backward {
    const real* other;  // gradient of the output
    const real* own;    // input
    real* own_grad;     // gradient of the input, or null
    real* grads;        // of the entries, in the plan's order
    bool accumulate;    // add to `own_grad` instead of overwriting it
};

template <int NB, int R, int C, int S, bool INPUT>
static void backward_tile(const Plan& plan, const Tile& tile, const Tile* next, int block, int row0,
                          int row1, const Backward& call) {
    using Ops = TileOps<NB, R, C>;
    const real* other = call.other + tile.other;
    const Run* first = plan.runs + plan.run_sets[tile.runs];
    const Run* last = plan.runs + plan.run_sets[tile.runs + 1];
    const int32_t* starts = plan.starts + (int64_t(block) * plan.rows + row0) * (plan.taps + 1);
    for (int row = row0; row < row1; ++row, starts += plan.taps + 1) {
        const int64_t place = tile.own + row * plan.own_channel;
        vec own[Ops::T], sums[Ops::T];
        if (first == last) {  // a stride's phase that no tap meets
            Ops::each([&](int i, int, int, int) { sums[i] = vec{}; });
            if (INPUT && block == 0 && !call.accumulate)
                Ops::put(plan, call.own_grad + place, sums);
            continue;
        }
        Ops::fetch(plan, call.own + place, own);
        if (next) {
            Ops::template ask<S>(plan, call.other + next->other, row);
            Ops::ask_own(plan, call.own + next->own + row * plan.own_channel);
            if (INPUT) Ops::ask_own(plan, call.own_grad + next->own + row * plan.own_channel);
        }
        if (INPUT) {
            if (block == 0 && !call.accumulate)
                Ops::each([&](int i, int, int, int) { sums[i] = vec{}; });
            else
                Ops::fetch(plan, call.own_grad + place, sums);
        }
        for (const Run* run = first; run != last; ++run) {
            const Entry* e = plan.entries + starts[run->begin];
            const Entry* end = plan.entries + starts[run->end];
            real* grads = call.grads + starts[run->begin];
            with_kind<R, C>(run->kind, [&]<int KIND>() {
                Ops::template correlate<S, KIND, INPUT>(plan, e, end, other, own, sums, grads);
            });
        }
        if (INPUT) Ops::put(plan, call.own_grad + place, sums);
    }
}

// One task is a range of own channels over all tiles, or a range of tiles over all of them.
template <class Call>
static void over_tiles(const Plan& plan, int threads, void (*const* table)(
                           const Plan&, const Tile&, const Tile*, int, int, int, const Call&),
                       const Call& call) {
    const auto range = [&](int64_t tile0, int64_t tile1, int row0, int row1) {
        for (int64_t t = tile0; t < tile1; ++t)
            for (int block = 0; block < plan.blocks; ++block)
                table[plan.tiles[t].shape](plan, plan.tiles[t],
                                           t + 1 < tile1 ? plan.tiles + t + 1 : nullptr, block,
                                           row0, row1, call);
    };
    if (plan.row_split) {
        Pool::instance().run(plan.cuts_count, threads, [&](int64_t i) {
            range(0, plan.tiles_count, plan.cuts[i], plan.cuts[i + 1]);
        });
        return;
    }
    const int64_t pieces = plan.tiles_count < 8 * threads ? plan.tiles_count : 8 * threads;
    Pool::instance().run(pieces, threads, [&](int64_t i) {
        range(plan.tiles_count * i / pieces, plan.tiles_count * (i + 1) / pieces, 0, plan.rows);
    });
}
