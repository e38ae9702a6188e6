// What networks of lines (see kernels/lines) need besides generated code: strided copies, zeros
// behind rows, and windows. All distances are floats.
#include <cstdint>
#include <vector>

#include "pool.h"
#include "vector.h"

struct Copy {
    int64_t size[4], in[4], out[4];
};

struct Edges {
    int64_t channels, channel, height, width, pitch, body;
};

struct Lines {
    int64_t channels, height, width, in_height, in_width;
    int64_t kernel_y, kernel_x, stride_y, stride_x, top, left;
    int64_t in_channel, in_row, out_channel, out_row;
    int64_t mean, count_all;  // count_all: what lies outside counts in a mean
};

// One step of a network: what is done with the memory at the three addresses.
struct Step {
    int64_t kind;
    const void* what;
    real *a, *b, *c;
    int64_t room, each;  // of elementwise programs
};

struct Rows;
struct Generated;

// Every second of 2 * VL numbers.
static INLINE vec every_second(const real* p) {
    bits index;
    for (int l = 0; l < VL; ++l) index[l] = 2 * l;
    return shuffle(load_any(p), load_any(p + VL), index);
}

static INLINE void copy_row(const real* in, int64_t step_in, real* out, int64_t step_out, int64_t n) {
    int64_t l = 0;
    if (step_out == 1 && step_in == 1) {
        for (; l + VL <= n; l += VL) store_any(out + l, load_any(in + l));
    } else if (step_out == 1 && step_in == 2) {
        for (; l + VL < n; l += VL) store_any(out + l, every_second(in + 2 * l));
    }
    for (; l < n; ++l) out[l * step_out] = in[l * step_in];
}

static INLINE int64_t tasks_for(int64_t count, int threads) {
    const int64_t wanted = threads > 1 ? 4 * threads : 1;
    return count < wanted ? count : wanted;
}

// The larger one; a NaN stays.
static INLINE vec larger(vec a, vec b) { return (b > a) | (b != b) ? b : a; }

// Columns first, into `room` with what counts for nothing on both sides, then rows.
template <bool MEAN>
static INLINE void window(const Lines& w, const real* in, real* out, real* room) {
    const vec nothing = splat(MEAN ? 0 : -__builtin_inff());
    real* const line = room + w.left;
    for (int64_t y = 0; y < w.height; ++y) {
        int64_t first = y * w.stride_y - w.top, end = first + w.kernel_y;
        first = first < 0 ? 0 : first;
        end = end > w.in_height ? w.in_height : end;
        int64_t x = 0;
        for (; x + VL <= w.in_width; x += VL) {
            vec found = nothing;
            for (int64_t v = first; v < end; ++v) {
                const vec value = load_any(in + v * w.in_row + x);
                found = MEAN ? found + value : larger(found, value);
            }
            store_any(line + x, found);
        }
        for (; x < w.in_width; ++x) {
            real found = nothing[0];
            for (int64_t v = first; v < end; ++v) {
                const real value = in[v * w.in_row + x];
                found = MEAN ? found + value : value > found || value != value ? value : found;
            }
            line[x] = found;
        }
        real* const to = out + y * w.out_row;
        for (x = 0; x < w.width; x += VL) {
            const int64_t n = x + VL > w.width ? w.width - x : VL;
            vec found = nothing;
            for (int64_t j = 0; j < w.kernel_x; ++j) {
                const real* const from = room + x * w.stride_x + j;
                vec value = nothing;
                if (w.stride_x == 1)
                    value = load_any(from);
                else if (w.stride_x == 2)
                    value = every_second(from);
                else
                    for (int64_t l = 0; l < n; ++l) value[l] = from[l * w.stride_x];
                found = MEAN ? found + value : larger(found, value);
            }
            if (MEAN)
                for (int64_t l = 0; l < n; ++l) {
                    const int64_t left = (x + l) * w.stride_x - w.left, right = left + w.kernel_x;
                    const int64_t seen =
                        (right > w.in_width ? w.in_width : right) - (left < 0 ? 0 : left);
                    found[l] /= real(w.count_all ? w.kernel_y * w.kernel_x : (end - first) * seen);
                }
            if (n == VL)
                store_any(to + x, found);
            else
                for (int64_t l = 0; l < n; ++l) to[x + l] = found[l];
        }
    }
}

extern "C" {

void lanes_rows(const Rows* given, vec* memory, int64_t room, int64_t each, int threads);
void lanes_generated(const Generated* given, const real* in, real* out, const real* residual,
                     int threads);

void lines_copy(const Copy* given, const real* from, real* to, int threads) {
    const Copy& c = *given;
    const int64_t outer = c.size[0] * c.size[1], tasks = tasks_for(outer, threads);
    Pool::instance().run(tasks, threads, [&](int64_t task) {
        for (int64_t i = outer * task / tasks; i < outer * (task + 1) / tasks; ++i) {
            const int64_t a = i / c.size[1], b = i % c.size[1];
            for (int64_t k = 0; k < c.size[2]; ++k) {
                const real* const in = from + a * c.in[0] + b * c.in[1] + k * c.in[2];
                real* const out = to + a * c.out[0] + b * c.out[1] + k * c.out[2];
                copy_row(in, c.in[3], out, c.out[3], c.size[3]);
            }
        }
    });
}

void lines_edges(const Edges* given, real* first, int threads) {
    const Edges& e = *given;
    const int64_t tasks = tasks_for(e.channels, threads), gap = e.pitch - e.width;
    Pool::instance().run(tasks, threads, [&](int64_t task) {
        for (int64_t c = e.channels * task / tasks; c < e.channels * (task + 1) / tasks; ++c) {
            real* const line = first + c * e.channel;
            for (int64_t y = 0; y < e.height; ++y)
                for (int64_t i = 0; i < gap; ++i) line[y * e.pitch + e.width + i] = 0;
            for (int64_t i = e.height * e.pitch; i < e.body; ++i) line[i] = 0;
        }
    });
}

void lines_window(const Lines* given, const real* in, real* out, int threads) {
    const Lines& w = *given;
    const int64_t tasks = tasks_for(w.channels, threads);
    Pool::instance().run(tasks, threads, [&](int64_t task) {
        const int64_t wide = w.left + w.in_width + (w.width + VL) * w.stride_x + w.kernel_x + 2 * VL;
        std::vector<real> room(wide, w.mean ? 0 : -__builtin_inff());
        for (int64_t c = w.channels * task / tasks; c < w.channels * (task + 1) / tasks; ++c) {
            if (w.mean)
                window<true>(w, in + c * w.in_channel, out + c * w.out_channel, room.data());
            else
                window<false>(w, in + c * w.in_channel, out + c * w.out_channel, room.data());
        }
    });
}

// Steps in order; see kernels/lines/network.py.
void lines_run(const Step* steps, int64_t count, int threads) {
    for (int64_t i = 0; i < count; ++i) {
        const Step& s = steps[i];
        switch (s.kind) {
            case 0: lines_copy(static_cast<const Copy*>(s.what), s.a, s.b, threads); break;
            case 1: lines_edges(static_cast<const Edges*>(s.what), s.a, threads); break;
            case 2: lines_window(static_cast<const Lines*>(s.what), s.a, s.b, threads); break;
            case 3:
                lanes_generated(static_cast<const Generated*>(s.what), s.a, s.b, s.c, threads);
                break;
            default:
                lanes_rows(static_cast<const Rows*>(s.what), reinterpret_cast<vec*>(s.a), s.room,
                           s.each, threads);
        }
    }
}

}  // extern "C"
