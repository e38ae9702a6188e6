// SparseProp's convolution (Nikdan et al., ICML 2023, section 4) as its paper describes it, for
// the benchmark alone: images innermost, each non-zero sweeps its whole plane, outputs and
// gradients are read from and written to memory once for each non-zero. Written anew, with
// vectors as wide as our own kernels have them (the published code uses 256 bits), and with
// four neighbouring columns at once.
#include "source/pool.h"
#include "source/vector.h"

struct Layer {
    int32_t images, in, out, h, w, oh, ow, kernel, stride, padding;
    const int32_t* first;  // [out * in + 1]: non-zeros of each pair of channels
    const int32_t* taps;   // kernel * row + column of each non-zero
};

// f(offset in the input, offset in the output, columns) for all places that a tap connects.
template <class F>
static INLINE void sweep(const Layer& l, int tap, F f) {
    const int ky = tap / l.kernel - l.padding, kx = tap % l.kernel - l.padding;
    const auto first = [&](int k) { return k < 0 ? (-k + l.stride - 1) / l.stride : 0; };
    const auto end = [&](int k, int size, int out) {
        const int last = (size - 1 - k) / l.stride + 1;
        return size - 1 - k < 0 ? 0 : last < out ? last : out;
    };
    const int x1 = end(kx, l.w, l.ow);
    for (int y = first(ky); y < end(ky, l.h, l.oh); ++y) {
        int x = first(kx);
        for (; x < x1; x += x + 4 <= x1 ? 4 : 1)
            f(int64_t((y * l.stride + ky) * l.w + x * l.stride + kx) * l.images,
              int64_t(y * l.ow + x) * l.images, x + 4 <= x1 ? 4 : 1);
    }
}

extern "C" {

void published_forward(const Layer* layer, const real* x, const real* weights, real* y,
                       int threads) {
    const Layer& l = *layer;
    Pool::instance().run(l.out, threads, [&](int64_t o) {
        real* out = y + o * l.oh * l.ow * l.images;
        std::memset(out, 0, sizeof(real) * size_t(l.oh * l.ow * l.images));
        for (int64_t c = 0; c < l.in; ++c) {
            const real* in = x + c * l.h * l.w * l.images;
            for (int e = l.first[o * l.in + c]; e < l.first[o * l.in + c + 1]; ++e) {
                const vec w = splat(weights[e]);
                const int64_t step = int64_t(l.stride) * l.images;
                sweep(l, l.taps[e], [&](int64_t i, int64_t p, int columns) {
                    if (columns == 4) {
                        for (int b = 0; b < l.images; b += VL)
#pragma GCC unroll 4
                            for (int k = 0; k < 4; ++k) {
                                real* to = out + p + k * l.images + b;
                                store(to, load(to) + w * load(in + i + k * step + b));
                            }
                        return;
                    }
                    for (int b = 0; b < l.images; b += VL)
                        store(out + p + b, load(out + p + b) + w * load(in + i + b));
                });
            }
        }
    });
}

void published_backward(const Layer* layer, const real* x, const real* weights, const real* gy,
                        real* gx, real* gw, int threads) {
    const Layer& l = *layer;
    Pool::instance().run(l.in, threads, [&](int64_t c) {
        const real* in = x + c * l.h * l.w * l.images;
        real* grad = gx + c * l.h * l.w * l.images;
        std::memset(grad, 0, sizeof(real) * size_t(l.h * l.w * l.images));
        for (int64_t o = 0; o < l.out; ++o) {
            const real* up = gy + o * l.oh * l.ow * l.images;
            for (int e = l.first[o * l.in + c]; e < l.first[o * l.in + c + 1]; ++e) {
                const vec w = splat(weights[e]);
                vec dots[4] = {};
                const int64_t step = int64_t(l.stride) * l.images;
                sweep(l, l.taps[e], [&](int64_t i, int64_t p, int columns) {
                    for (int k = 0; k < columns; ++k)
                        for (int b = 0; b < l.images; b += VL) {
                            const vec g = load(up + p + k * l.images + b);
                            real* to = grad + i + k * step + b;
                            dots[k] += g * load(in + i + k * step + b);
                            store(to, load(to) + w * g);
                        }
                });
                gw[e] = lane_sum(dots[0] + dots[1] + dots[2] + dots[3]);
            }
        }
    });
}

}  // extern "C"
