// The gradient of a convolution's non-zeros by generated code: what lies around its functions.
#include "folded.h"
#include "pool.h"

// Chunks are rows of the output of one block of images, or whole planes of several. For each, a few
// channels of the input are copied beside each other with the zeros around their planes; the units
// of these channels add up to 28 gradients each, a vector of lanes for each gradient.
//
// With `pairs` two blocks of images become one of pairs of bf16, of the input and of the output's
// gradient: what is copied is half as large, and one instruction adds twice as many products.
struct Correlation {
    const GeneratedCode* functions;
    const Place* places;    // of a whole chunk; a smaller one has the first of them
    const int64_t* units;   // [blocks + 1]: functions of each block of channels
    const int64_t* ends;    // [units_count + 1]: gradients of each function
    const int64_t* order;   // where each gradient belongs
    int64_t blocks, block_channels, channels, images, chunk_images, chunk_rows;
    int64_t height, width, channel;  // of the input; distance of its channels, elements
    int64_t out_rows, out_columns, stride;
    int64_t top, left, window_rows, window_columns, units_count;
    int64_t pairs, image_blocks, out_channels, out_channel;  // the last as `channel`
};

namespace {

constexpr int64_t TOTALS = 28;

// Vectors of one block of images, or of two as pairs of bf16, rounded to the nearest; `other` may be
// null, for zeros.
template <class T>
void copy_floats(const T* from, real* to, int64_t count) {
    for (int64_t i = 0; i < count * VL; i += VL) store(to + i, load(from + i));
}
#if defined(__AVX512F__) && !defined(SPARSE_DOUBLE)
__attribute__((target("avx512bf16"))) void copy_pairs(const real* from, const real* other, real* to,
                                                      int64_t count) {
    for (int64_t i = 0; i < count * VL; i += VL) {
        const __m512 low = _mm512_load_ps(from + i);
        const __m512 high = other ? _mm512_load_ps(other + i) : _mm512_setzero_ps();
        _mm512_store_si512(to + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}
#else
void copy_pairs(const real*, const real*, real*, int64_t) {}  // never called
#endif
// What is kept in bf16 already: one behind the other, as the conversion of two vectors leaves them.
void copy_pairs(const half* from, const half* other, real* to, int64_t count) {
    for (int64_t i = 0; i < count * VL; i += VL) {
        half* pair = reinterpret_cast<half*>(to + i);
        std::memcpy(pair, from + i, sizeof(half) * VL);
        if (other)
            std::memcpy(pair + VL, other + i, sizeof(half) * VL);
        else
            std::memset(pair + VL, 0, sizeof(half) * VL);
    }
}

// Places of a plane of `first`, one block of images or, with pairs, two.
template <class T>
void copy_places(const Correlation& c, const T* first, int64_t image, int64_t plane, int64_t from,
                 real* to, int64_t count) {
    if (!c.pairs) {
        copy_floats(first + (image * plane + from) * VL, to, count);
        return;
    }
    const T* low = first + (2 * image * plane + from) * VL;
    copy_pairs(low, 2 * image + 1 < c.image_blocks ? low + plane * VL : nullptr, to, count);
}

// Channels [from, to) of what a chunk sees of the input, zeros where that is no pixel.
template <class T>
void copy_window(const Correlation& c, const T* x, int64_t from, int64_t to, int64_t image,
                 int64_t images, int64_t row, real* window) {
    const int64_t first = c.left < c.window_columns ? c.left : c.window_columns;
    const int64_t pixels = c.window_columns - first < c.width ? c.window_columns - first : c.width;
    const int64_t plane = c.window_rows * c.window_columns * VL;
    const auto zeros = [](real* target, int64_t count) {
        std::memset(target, 0, sizeof(real) * VL * size_t(count));
    };
    for (int64_t channel = from; channel < to; ++channel) {
        real* to_plane = window + (channel - from) * c.chunk_images * plane;
        for (int64_t i = 0; i < images; ++i, to_plane += plane) {
            for (int64_t h = 0; h < c.window_rows; ++h) {
                const int64_t y = row * c.stride - c.top + h;
                real* target = to_plane + h * c.window_columns * VL;
                if (y < 0 || y >= c.height) {
                    zeros(target, c.window_columns);
                    continue;
                }
                zeros(target, first);
                copy_places(c, x + channel * c.channel, image + i, c.height * c.width, y * c.width,
                            target + first * VL, pixels);
                zeros(target + (first + pixels) * VL, c.window_columns - first - pixels);
            }
        }
    }
}

// sums: of all gradients, or, where one chunk is all (`once`), TOTALS for each thread; windows: one
// for each thread, with the pairs of the output's gradient of a chunk behind it. Each thread has
// blocks of channels of its own, so no two add to one gradient.
template <class T>
void correlate(const Correlation& c, const T* x, const real* y_grad, real* sums, real* windows,
               int once, real* grads, int threads) {
    const int64_t size = c.block_channels * c.chunk_images * c.window_rows * c.window_columns * VL;
    const int64_t chunk = c.chunk_images * c.chunk_rows * c.out_columns * VL;
    const int64_t gradients = c.pairs ? c.out_channels * chunk : 0;
    const auto add_lanes = [&](int64_t unit, const real* from) {
        for (int64_t k = c.ends[unit]; k < c.ends[unit + 1]; k += 4) {
            const int64_t count = c.ends[unit + 1] - k < 4 ? c.ends[unit + 1] - k : 4;
            vec four[4] = {};
            real found[4] = {};
            for (int64_t i = 0; i < count; ++i) four[i] = load(from + (k - c.ends[unit] + i) * VL);
            add_lane_sums(four, found);
            for (int64_t i = 0; i < count; ++i) grads[c.order[k + i]] = found[i];
        }
    };
    Pool::instance().run(threads, threads, [&](int64_t task) {
        const int64_t from = c.blocks * task / threads, to = c.blocks * (task + 1) / threads;
        real* window = windows + task * (size + gradients);
        if (!once)
            std::memset(sums + c.ends[c.units[from]] * VL, 0,
                        sizeof(real) * VL * (c.ends[c.units[to]] - c.ends[c.units[from]]));
        for (int64_t image = 0; image < c.images; image += c.chunk_images)
            for (int64_t row = 0; row < c.out_rows; row += c.chunk_rows) {
                const int64_t images =
                    c.images - image < c.chunk_images ? c.images - image : c.chunk_images;
                const int64_t rows = c.out_rows - row < c.chunk_rows ? c.out_rows - row : c.chunk_rows;
                const Place* end = c.places + images * rows * c.out_columns;
                const real* out = y_grad + (image * c.out_rows + row) * c.out_columns * VL;
                if (c.pairs) {
                    for (int64_t channel = 0; channel < c.out_channels; ++channel)
                        for (int64_t i = 0; i < images; ++i)
                            copy_places(c, y_grad + channel * c.out_channel, image + i,
                                        c.out_rows * c.out_columns, row * c.out_columns,
                                        window + size + channel * chunk + i * rows * c.out_columns * VL,
                                        rows * c.out_columns);
                    out = window + size;
                }
                for (int64_t block = from; block < to; ++block) {
                    if (c.units[block] == c.units[block + 1]) continue;
                    const int64_t first = block * c.block_channels;
                    const int64_t last = first + c.block_channels;
                    copy_window(c, x, first, last < c.channels ? last : c.channels, image, images,
                                row, window);
                    for (int64_t unit = c.units[block]; unit < c.units[block + 1]; ++unit) {
                        real* own = sums + (once ? task * TOTALS : c.ends[unit]) * VL;
                        c.functions[unit](window, const_cast<real*>(out), nullptr, own, c.places,
                                          end);
                        if (once) add_lanes(unit, own);
                    }
                }
            }
        if (!once)
            for (int64_t unit = c.units[from]; unit < c.units[to]; ++unit)
                add_lanes(unit, sums + c.ends[unit] * VL);
    });
}

}  // namespace

extern "C" {

// halves: whether x is bf16.
void sparse_correlate(const Correlation* call, const void* x, int halves, const real* y_grad,
                      real* sums, real* windows, int once, real* grads, int threads) {
    if (halves)
        correlate(*call, static_cast<const half*>(x), y_grad, sums, windows, once, grads, threads);
    else
        correlate(*call, static_cast<const real*>(x), y_grad, sums, windows, once, grads, threads);
}

}  // extern "C"
