// What folded tensors need besides convolutions, and the loop over calls and groups.
#include "folded.h"

#include <atomic>
#include <chrono>

#include "convolve.h"

struct Shape;

extern "C" {
void sparse_quantise(const Quantise* what, real* const* sources, real* to, int threads);
void sparse_byte_max_pool(const FoldedPool* what, const real* from, real* to, int threads);
void sparse_rows(const Returned* what, const real* from, real* const* rows, int threads);
void sparse_act(const Shape* shape, const real* in, const real* residual, real* out, int act,
                int threads);
}

static void fill_halo(const Halo& h, real* data, real fill, int threads) {
    const vec outside = splat(fill);
    Pool::instance().run(h.moves_count, threads, [&](int64_t i) {
        const Move& move = h.moves[i];
        bits lanes;
        for (int l = 0; l < VL; ++l) lanes[l] = h.permutations[move.permutation * VL + l];
        for (int64_t c = 0; c < h.channels; ++c) {
            real* plane = data + c * h.channel;
            store(plane + move.to, shuffle(load(plane + move.from), outside, lanes));
        }
    });
}

// The places of a row whose lanes lie one element further in the source than those before.
static void regroup_rows(const Regroup& r, real* const* sources, real* to, int threads) {
    const int64_t rows = r.blocks * r.plane / r.row;
    Pool::instance().run(rows, threads, [&](int64_t line) {
        const int64_t first = line * r.row;
        const int32_t* which = r.which + first / r.plane * VL;
        for (int64_t j = 0; j < r.row;) {
            // The last vectors of a row overlap those before.
            const int64_t place = first + (j + VL > r.row ? r.row - VL : j);
            const int32_t* offset = r.offsets + place * VL;
            for (int64_t c = 0; c < r.channels; ++c) {
                vec v[VL];
#pragma GCC unroll 16
                for (int l = 0; l < VL; ++l) {
                    const real* source = sources[which[l]];
                    v[l] = source ? load_any(source + offset[l] + c * r.from_channel) : vec{};
                }
                transpose(v);
#pragma GCC unroll 16
                for (int i = 0; i < VL; ++i) store(to + r.places[place + i] + c * r.to_channel, v[i]);
            }
            j += VL;
        }
    });
}

static void regroup(const Regroup& r, real* const* sources, real* to, int threads) {
    if (r.row >= VL) return regroup_rows(r, sources, to, threads);
    // What lies far away is read in its own order first: that of the lanes is none for a stream.
    for (int64_t k = 0; k < r.sources; ++k)
        for (int64_t i = 0; sources[k] && i < r.sweep; i += 64 / int64_t(sizeof(real)))
            __builtin_prefetch(sources[k] + i, 0, 2);
    // All channels of a place in turn: large planes have them side by side.
    Pool::instance().run(r.blocks * r.plane, threads, [&](int64_t place) {
        const int32_t* which = r.which + place / r.plane * VL;
        const int32_t* offset = r.offsets + place * VL;
        real* v = to + r.places[place];
        const real* from[VL];
        bool whole = true;
        for (int l = 0; l < VL; ++l) {
            const real* source = sources[which[l]];
            from[l] = source ? source + offset[l] : nullptr;
            whole = whole && source;
        }
        if (whole) {
            for (int64_t c = 0; c < r.channels; ++c)
#pragma GCC unroll 16
                for (int l = 0; l < VL; ++l)
                    v[c * r.to_channel + l] = from[l][c * r.from_channel];
        } else {
            for (int64_t c = 0; c < r.channels; ++c)
                for (int l = 0; l < VL; ++l)
                    v[c * r.to_channel + l] = from[l] ? from[l][c * r.from_channel] : real(0);
        }
    });
}

// Vectors [first, first + K) of one place, for all channels. Lanes of a source that is not there
// are zero: no image is there, but what is computed in them must be numbers.
template <int K>
static INLINE void merge_place(const Merge& m, real* const* sources, int64_t place, int64_t first,
                               real* out) {
    const real* from[K];
    bits lanes[K];
    for (int k = 0; k < K; ++k) {
        const int64_t i = place * m.count + first + k;
        const real* source = sources[m.which[i]];
        from[k] = source ? source + m.offsets[i] : nullptr;
        for (int l = 0; l < VL; ++l) lanes[k][l] = source ? m.lanes[i * VL + l] : l;
        if (!source) from[k] = out;  // nothing is taken from there
    }
    for (int64_t c = 0; c < m.channels; ++c) {
        vec v = first == 0 ? vec{} : load(out + c * m.to_channel);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) v = shuffle(v, load(from[k] + c * m.from_channel), lanes[k]);
        store(out + c * m.to_channel, v);
    }
}

static void merge(const Merge& m, real* const* sources, real* to, int threads) {
    Pool::instance().run(m.places, threads, [&](int64_t place) {
        real* out = to + m.to[place];
        int64_t k = 0;
        for (; k + 4 <= m.count; k += 4) merge_place<4>(m, sources, place, k, out);
        for (; k < m.count; ++k) merge_place<1>(m, sources, place, k, out);
    });
}

// One function on some places. Code comes from memory line by line where nobody asks for it, so
// the next function's is asked for between the places, if they are too few to hide that.
static void run_code(const Generated& g, int64_t f, const real* in, real* out,
                     const real* residual, const Place* first, const Place* end) {
    constexpr int64_t FEW = 64, LINE = 64;
    const GeneratedCode code = g.functions[f];
    if (f + 1 == g.functions_count || end - first > FEW) {
        code(in, out, residual, g.weights, first, end);
        return;
    }
    // Functions lie one after the other and are about equally long.
    const char* next = reinterpret_cast<const char*>(g.functions[f + 1]);
    const int64_t lines = (next - reinterpret_cast<const char*>(code)) / LINE;
    const int64_t each = (lines + (end - first) - 1) / (end - first);
    for (int64_t line = 0; first != end; ++first) {
        for (const int64_t until = line + each; line < until && line < lines; ++line)
            __builtin_prefetch(next + line * LINE, 0, 2);
        code(in, out, residual, g.weights, first, first + 1);
    }
}

static void generated(const Generated& g, const real* in, real* out, const real* residual,
                      int threads) {
    if (threads == 1) {
        for (int64_t f = 0; f < g.functions_count; ++f)
            run_code(g, f, in, out, residual, g.places, g.places + g.places_count);
        return;
    }
    // Tasks of about equal work, a few for each thread; all of a function's before the next's.
    const int64_t chains = g.functions_count / g.chain;
    int64_t pieces = (4 * threads + chains - 1) / chains;
    pieces = pieces > g.places_count ? g.places_count : pieces;
    Pool::instance().run(chains * pieces, threads, [&](int64_t task) {
        const int64_t chain = task / pieces, i = task % pieces;
        for (int64_t f = chain * g.chain; f < (chain + 1) * g.chain; ++f)
            run_code(g, f, in, out, residual, g.places + g.places_count * i / pieces,
                     g.places + g.places_count * (i + 1) / pieces);
    });
}

// Maxima of one row of outputs; K: width of the window, 0 where it is cut off or of any size.
template <int K>
static INLINE void pool_row(const FoldedPool& p, const real* in, int64_t y0, int64_t y1, int64_t j0,
                            int64_t j1, real* out) {
    for (int64_t j = j0; j < j1; ++j) {
        const int64_t x = j * p.stride - p.padding;
        const int64_t x0 = K || x > p.low_x ? x : p.low_x;
        const int64_t x1 = K ? x + K : x + p.kernel > p.high_x ? p.high_x : x + p.kernel;
        vec best = splat(-__builtin_inf());
        for (int64_t h = y0; h < y1; ++h) {
            const real* row = in + h * p.from_row;
#pragma GCC unroll 4
            for (int64_t w = x0; w < x1; ++w) {
                const vec next = load(row + w * p.from_column);
                best = (next > best) | (next != next) ? next : best;  // a NaN wins
            }
        }
        store(out + j * p.to_column, best);
    }
}

// The channels of a place side by side: all of them for one output after the other.
static void pool_places(const FoldedPool& p, const real* from, real* to, int threads) {
    const int64_t plane = p.height * p.width;
    Pool::instance().run(p.blocks * plane, threads, [&](int64_t place) {
        const int64_t b = place / plane, i = place % plane / p.width, j = place % p.width;
        const int64_t y = i * p.stride - p.padding, x = j * p.stride - p.padding;
        const int64_t y0 = y < p.low_y ? p.low_y : y, x0 = x < p.low_x ? p.low_x : x;
        const int64_t y1 = y + p.kernel > p.high_y ? p.high_y : y + p.kernel;
        const int64_t x1 = x + p.kernel > p.high_x ? p.high_x : x + p.kernel;
        const real* in = from + b * p.from_block;
        real* out = to + b * p.to_block + i * p.to_row + j * p.to_column;
        for (int64_t c = 0; c < p.channels; ++c) {
            vec best = splat(-__builtin_inf());
            for (int64_t h = y0; h < y1; ++h)
                for (int64_t w = x0; w < x1; ++w) {
                    const vec next = load(in + h * p.from_row + w * p.from_column + c * VL);
                    best = (next > best) | (next != next) ? next : best;  // a NaN wins
                }
            store(out + c * VL, best);
        }
    });
}

static void max_pool(const FoldedPool& p, const real* from, real* to, int threads) {
    if (p.from_channel == VL && p.to_channel == VL)
        return pool_places(p, from, to, threads);
    // Outputs [first, end) of a row see the whole width of their windows.
    int64_t first = 0, end = p.width;
    while (first < end && first * p.stride - p.padding < p.low_x) ++first;
    while (end > first && (end - 1) * p.stride - p.padding + p.kernel > p.high_x) --end;
    Pool::instance().run(p.blocks * p.height, threads, [&](int64_t task) {
        const int64_t b = task / p.height, i = task % p.height;
        const int64_t y = i * p.stride - p.padding;
        const int64_t y0 = y < p.low_y ? p.low_y : y;
        const int64_t y1 = y + p.kernel > p.high_y ? p.high_y : y + p.kernel;
        for (int64_t c = 0; c < p.channels; ++c) {
            const real* in = from + c * p.from_channel + b * p.from_block;
            real* out = to + c * p.to_channel + b * p.to_block + i * p.to_row;
            pool_row<0>(p, in, y0, y1, 0, first, out);
            if (p.kernel == 1)
                pool_row<1>(p, in, y0, y1, first, end, out);
            else if (p.kernel == 3)
                pool_row<3>(p, in, y0, y1, first, end, out);
            else
                pool_row<0>(p, in, y0, y1, first, end, out);
            pool_row<0>(p, in, y0, y1, end, p.width, out);
        }
    });
}

// Features of each image, one address each, none where there is no image.
static void mean(const FoldedMean& m, const real* from, real* const* features, int threads) {
    const int64_t pieces = VL / m.images;
    Pool::instance().run(m.channels, threads, [&](int64_t c) {
        for (int64_t b = 0; b < m.blocks; ++b) {
            vec sum = {};
            for (int64_t i = 0; i < m.height; ++i)
                for (int64_t j = 0; j < m.width; ++j)
                    sum += load(from + c * m.channel + i * m.row + j * m.column + b * m.block);
            for (int64_t p = 0; p < m.images; ++p) {
                real total = 0;
                for (int64_t k = 0; k < pieces; ++k) total += sum[p * pieces + k];
                real* out = features[b * m.images + p];
                if (out) out[c] = total / real(m.area);
            }
        }
    });
}

static void run_call(const Call& call, real* const* table, int threads) {
    const real* in = call.in < 0 ? nullptr : table[call.in];
    real* out = call.out < 0 ? nullptr : table[call.out];
    const real* residual = call.residual < 0 ? nullptr : table[call.residual];
    switch (call.kind) {
        case CONVOLVE: {
            const Forward forward{in, out, call.bias, residual, call.act};
            call.convolve(static_cast<const Plan*>(call.what), &forward, threads);
            break;
        }
        case HALO:
            fill_halo(*static_cast<const Halo*>(call.what), out, real(call.fill), threads);
            break;
        case REGROUP:
            regroup(*static_cast<const Regroup*>(call.what), table + call.in, out, threads);
            break;
        case MAX_POOL:
            max_pool(*static_cast<const FoldedPool*>(call.what), in, out, threads);
            break;
        case MEAN:
            mean(*static_cast<const FoldedMean*>(call.what), in, table + call.out, threads);
            break;
        case GENERATED:
            generated(*static_cast<const Generated*>(call.what), in, out, residual, threads);
            break;
        case MERGE:
            merge(*static_cast<const Merge*>(call.what), table + call.in, out, threads);
            break;
        case QUANTISE:
            sparse_quantise(static_cast<const Quantise*>(call.what), table + call.in, out, threads);
            break;
        case BYTE_MAX_POOL:
            sparse_byte_max_pool(static_cast<const FoldedPool*>(call.what), in, out, threads);
            break;
        case RETURN:
            sparse_rows(static_cast<const Returned*>(call.what), in, table + call.out, threads);
            break;
        default:
            sparse_act(static_cast<const Shape*>(call.what), in, residual, out, call.act, threads);
    }
}

extern "C" {

// All calls for each of `groups`. `tables`: [workers][groups][slots] addresses. With `workers` = 1
// the threads share every call, else each worker takes whole groups. `seconds`, where wanted:
// [workers][count], to which the time of each call is added.
void sparse_run(const Call* calls, int64_t count, real* const* tables, int64_t groups,
                int64_t slots, int workers, int threads, double* seconds) {
    using Clock = std::chrono::steady_clock;
    std::atomic<int64_t> next{0};
    const int inner = workers > 1 ? 1 : threads;
    const auto serve = [&](int64_t worker) {
        for (;;) {
            const int64_t group = next.fetch_add(1, std::memory_order_relaxed);
            if (group >= groups) return;
            real* const* table = tables + (worker * groups + group) * slots;
            for (int64_t i = 0; i < count; ++i) {
                const auto start = seconds ? Clock::now() : Clock::time_point{};
                run_call(calls[i], table, inner);
                if (seconds)
                    seconds[worker * count + i] +=
                        std::chrono::duration<double>(Clock::now() - start).count();
            }
        }
    };
    if (workers > 1)
        Pool::instance().run(workers, workers, serve);
    else
        serve(0);
}

}  // extern "C"
