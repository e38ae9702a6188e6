// Batch norm, activation and max-pooling in one: what lies between them is never in memory.
#include <vector>

#include "elementwise.h"
#include "pool.h"

namespace {

// Which pixel of its window each lane of an output is.
typedef int8_t taps __attribute__((vector_size(VL), may_alias, aligned(1)));

// GCC 12 converts lane by lane.
INLINE bits widened(const int8_t* from) {
#if defined(__AVX512F__) && !defined(SPARSE_DOUBLE)
    return (bits)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__AVX2__) && !defined(SPARSE_DOUBLE)
    return (bits)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
    return __builtin_convertvector(*reinterpret_cast<const taps*>(from), bits);
#endif
}

INLINE bits all(int64_t value) {
    bits found;
    for (int l = 0; l < VL; ++l) found[l] = value;
    return found;
}

// Outputs whose window holds a pixel.
struct Seen {
    int32_t first, last;
};
std::vector<Seen> seen(int pixels, int outputs, const Window& w) {
    std::vector<Seen> found;
    for (int p = 0; p < pixels; ++p) {
        const int most = (p + w.padding) / w.stride;
        const int low = p + w.padding - w.kernel + w.stride;
        const int least = low < 0 ? 0 : low / w.stride;
        found.push_back({least, most < outputs ? most : outputs - 1});
    }
    return found;
}

template <class T>
void norm_pool_backward(const NormBackward& n, const Window& w, const int8_t* which, int threads) {
    const vec mask = last_mask(n.shape), zero = {};
    const std::vector<Seen> rows = seen(w.in_h, w.out_h, w), columns = seen(w.in_w, w.out_w, w);
    Pool::instance().run(w.in.channels, threads, [&](int64_t c) {
        const T* y = static_cast<const T*>(n.input) + c * w.in.channel_stride;
        const T* z = static_cast<const T*>(n.output) + c * w.out.channel_stride;
        real* gy = n.input_grad + c * w.in.channel_stride;
        const int64_t from = c * w.out.channel_stride;
        real* g = n.output_grad + from;
        for (int64_t i = 0; i < w.out.blocks * w.out.plane * VL; i += VL)
            store(g + i, activate_backward(load(g + i), load(z + i), n.act));
        const vec mean = splat(n.mean[c]);
        Sum sum, product;
        for (int64_t b = 0; b < w.in.blocks; ++b) {
            const int64_t plane = b * w.out.plane;
            for (int h = 0; h < w.in_h; ++h) {
                const int64_t row = (b * w.in.plane + int64_t(h) * w.in_w) * VL;
                vec part = zero, second = zero;
                for (int v = 0; v < w.in_w; ++v) {
                    vec total = zero;
                    for (int i = rows[h].first; i <= rows[h].last; ++i)
                        for (int j = columns[v].first; j <= columns[v].last; ++j) {
                            const int64_t place = (plane + i * w.out_w + j) * VL;
                            const int tap = (h - i * w.stride + w.padding) * w.kernel + v -
                                            j * w.stride + w.padding;
                            const auto hit = widened(which + from + place) == all(tap);
                            total += hit ? load(g + place) : zero;
                        }
                    store(gy + row + v * VL, total);
                    part += total;
                    second += total * (load(y + row + v * VL) - mean);
                }
                sum.add(part);
                product.add(second);
            }
        }
        const Slope slope = slope_of(n, c, sum.total(), product.total());
        chunks(n.shape, [&](int64_t first, int64_t last, auto masked) {
            for (int64_t i = first * VL; i < last * VL; i += VL) {
                const vec v = slope.of(load(gy + i), load(y + i) - mean);
                // Lanes without an image must not reach the sums over images later on.
                store(gy + i, masked ? v * mask : v);
            }
        });
    });
}

}  // namespace

extern "C" {

// norm.output = max over windows of act((input - mean) * inverse * weight + bias); which: int8 for
// every value of the output, the first pixel of its window that is the maximum.
void sparse_norm_pool(const Norm* norm, const Window* window, int8_t* which, int threads) {
    const Norm& n = *norm;
    const Window& w = *window;
    const vec mask = last_mask(n.shape);
    Pool::instance().run(w.in.channels, threads, [&](int64_t c) {
        const real* channel = n.input + c * w.in.channel_stride;
        const auto [a, shift] = scale_of(n, c, channel, mask);
        if (n.kept_input)
            for (int64_t i = 0; i < w.in.blocks * w.in.plane * VL; i += VL)
                store(n.kept_input + c * w.in.channel_stride + i, load(channel + i));
        for (int64_t b = 0; b < w.in.blocks; ++b) {
            const real* x = channel + b * w.in.plane * VL;
            const int64_t to = c * w.out.channel_stride + b * w.out.plane * VL;
            const bool masked = b + 1 == w.in.blocks;
            for (int i = 0; i < w.out_h; ++i) {
                const int h0 = i * w.stride - w.padding;
                const int top = h0 < 0 ? 0 : h0;
                const int below = h0 + w.kernel < w.in_h ? h0 + w.kernel : w.in_h;
                for (int j = 0; j < w.out_w; ++j) {
                    const int v0 = j * w.stride - w.padding;
                    const int left = v0 < 0 ? 0 : v0;
                    const int right = v0 + w.kernel < w.in_w ? v0 + w.kernel : w.in_w;
                    vec best = splat(-__builtin_inf());
                    bits found = {};
                    for (int h = top; h < below; ++h)
                        for (int v = left; v < right; ++v) {
                            const vec next = load(x + (h * w.in_w + v) * VL) * a + shift;
                            const auto more = (next > best) | (next != next);  // a NaN wins
                            best = more ? next : best;
                            found = more ? all((h - h0) * w.kernel + v - v0) : found;
                        }
                    const int64_t place = to + (i * w.out_w + j) * VL;
                    best = activate(best, n.act);
                    if (masked) best *= mask;
                    store(n.output + place, best);
                    if (n.kept_input) store(n.kept_output + place, best);
                    *reinterpret_cast<taps*>(which + place) = __builtin_convertvector(found, taps);
                }
            }
        }
    });
}

// The gradient to the input of sparse_norm_pool; `output_grad` becomes that behind the activation.
void sparse_norm_pool_backward(const NormBackward* norm, const Window* window, const int8_t* which,
                               int threads) {
    norm->halves ? norm_pool_backward<half>(*norm, *window, which, threads)
                 : norm_pool_backward<real>(*norm, *window, which, threads);
}

}  // extern "C"
