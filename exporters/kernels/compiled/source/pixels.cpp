// Small batches: neighbouring pixels, not images, lie in a vector register.
//
// A channel is one line of pixels: N images of `rows` rows of `row` pixels, of which H x W
// are the image and the others zero. A tap of a convolution is then the same line shifted,
// and needs no care at borders. Only what cannot be a shift is here: the phases that a stride
// reads, the larger gaps that a larger kernel needs, pooling.
#include <algorithm>
#include <vector>

#include "plan.h"
#include "pool.h"

struct Line {
    int64_t images, channels, height, width;
    int64_t channel, image, row;  // strides, elements
};

// Copies rows of every `step`-th pixel; `whole` pixels may be read.
static void pick(const real* from, int64_t whole, int64_t step, real* to, int64_t count) {
    int64_t j = 0;
    if (step == 1) {
        std::memcpy(to, from, sizeof(real) * size_t(count));
        return;
    }
    if (step == 2) {
        bits even;
        for (int i = 0; i < VL; ++i) even[i] = 2 * i;
        for (; j + VL <= count && 2 * (j + VL) <= whole; j += VL)
            store_any(to + j, shuffle(load_any(from + 2 * j), load_any(from + 2 * j + VL), even));
    }
    for (; j < count; ++j) to[j] = from[j * step];
}

extern "C" {

// to[c * phases + p][n][i][j] = from[c][n][step_y * i + y_p][step_x * j + x_p], zero where
// that lies outside of the image. `phases` holds (y_p, x_p).
void sparse_pixel_phases(const Line* source, const Line* target, const int32_t* phases,
                         int phases_count, int step_y, int step_x, const real* from, real* to,
                         int threads) {
    const Line &s = *source, &t = *target;
    Pool::instance().run(t.channels, threads, [&](int64_t channel) {
        const int64_t y0 = phases[2 * (channel % phases_count)];
        const int64_t x0 = phases[2 * (channel % phases_count) + 1];
        const real* in = from + channel / phases_count * s.channel;
        const int64_t there = (s.width - x0 + step_x - 1) / step_x;
        const int64_t columns = there < t.width ? there : t.width;
        for (int64_t n = 0; n < s.images; ++n)
            for (int64_t i = 0; i < t.height; ++i) {
                real* row = to + channel * t.channel + n * t.image + i * t.row;
                const int64_t y = i * step_y + y0;
                const int64_t copied = y < s.height && columns > 0 ? columns : 0;
                if (copied)
                    pick(in + n * s.image + y * s.row + x0, s.width - x0, step_x, row, copied);
                std::fill(row + copied, row + t.width, real(0));
            }
    });
}

void sparse_pixel_max_pool(const Line* source, const Line* target, int kernel, int stride,
                           int padding, const real* from, real* to, int threads) {
    const Line &s = *source, &t = *target;
    const auto larger = [](vec next, vec best) {
        return (next > best) | (next != next) ? next : best;  // a NaN wins
    };
    const vec least = splat(-__builtin_inf());
    // The maxima of columns, then of rows, with room for the border on both sides.
    const int64_t room = (s.width + kernel + padding + 2 * VL) / VL * VL + VL;
    Pool::instance().run(t.channels, threads, [&](int64_t c) {
        std::vector<real> columns(size_t(room + VL), real(-__builtin_inf())), rows(size_t(room + VL));
        for (int64_t n = 0; n < t.images; ++n)
            for (int64_t i = 0; i < t.height; ++i) {
                const real* in = from + c * s.channel + n * s.image;
                for (int64_t j = 0; j < s.width; j += VL) {
                    vec best = least;
                    for (int64_t k = 0; k < kernel; ++k) {
                        const int64_t y = i * stride - padding + k;
                        if (y >= 0 && y < s.height) best = larger(load_any(in + y * s.row + j), best);
                    }
                    store_any(&columns[size_t(padding + j)], best);
                }
                for (int64_t j = padding + s.width; j < room; ++j)
                    columns[size_t(j)] = real(-__builtin_inf());
                const int64_t last = (t.width - 1) * stride + 1;
                for (int64_t j = 0; j < last; j += VL) {
                    vec best = least;
                    for (int64_t k = 0; k < kernel; ++k)
                        best = larger(load_any(&columns[size_t(j + k)]), best);
                    store_any(&rows[size_t(j)], best);
                }
                pick(rows.data(), last, stride, to + c * t.channel + n * t.image + i * t.row,
                     t.width);
            }
    });
}

// Features [N, C], the mean over H * W; gaps are zero and add nothing.
void sparse_pixel_mean(const Line* source, const real* from, real* to, int threads) {
    const Line& s = *source;
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        for (int64_t n = 0; n < s.images; ++n) {
            const real* in = from + c * s.channel + n * s.image;
            const int64_t count = s.height * s.row;
            vec sum = {};
            int64_t i = 0;
            for (; i + VL <= count; i += VL) sum += load_any(in + i);
            real total = lane_sum(sum);
            for (; i < count; ++i) total += in[i];
            to[n * s.channels + c] = total / real(s.height * s.width);
        }
    });
}

}  // extern "C"
