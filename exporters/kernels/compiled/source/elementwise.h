// What the functions between the convolutions share: shapes, sums over channels, batch norm's data.
#pragma once

#include <type_traits>

#include "plan.h"

struct Shape {
    int64_t channels, blocks, plane;  // plane: H * W
    int64_t channel_stride;           // elements
    int64_t images;                 // N; the last block's other lanes hold no image
};

namespace {

vec last_mask(const Shape& s) {
    vec mask = splat(1);
    const int64_t used = s.images - (s.blocks - 1) * VL;
    for (int i = 0; i < VL; ++i) mask[i] = i < used ? real(1) : real(0);
    return mask;
}

// Calls f(offset, masked) for each vector of a channel; sums are flushed to double every
// CHUNK vectors, so that the rounding stays that of short sums.
constexpr int64_t CHUNK = 64;

struct Sum {
    double lanes[VL] = {};
    void add(vec v) {
        for (int i = 0; i < VL; ++i) lanes[i] += double(v[i]);
    }
    double total() const {
        double found = 0;
        for (int i = 0; i < VL; ++i) found += lanes[i];
        return found;
    }
};

// The sum of f(i, k) over [from, to). Four sums side by side: one alone would wait for itself; k is
// the one that i is added to.
template <class F>
INLINE vec summed(int64_t from, int64_t to, F f) {
    vec parts[4] = {};
    int64_t i = from;
    for (; i + 4 <= to; i += 4)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) parts[k] += f(i + k, k);
    for (; i < to; ++i) parts[0] += f(i, 0);
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

template <class F>
INLINE void chunks(const Shape& s, F f) {
    const int64_t all = s.blocks * s.plane;
    const int64_t whole = s.images == s.blocks * VL ? all : all - s.plane;
    for (int64_t i = 0; i < whole; i += CHUNK)
        f(i, i + CHUNK < whole ? i + CHUNK : whole, std::false_type{});
    for (int64_t i = whole; i < all; i += CHUNK)
        f(i, i + CHUNK < all ? i + CHUNK : all, std::true_type{});
}

}  // namespace

struct Norm {
    Shape shape;
    const real* input;
    const real* residual;  // or null
    real* output;            // may be `input`
    half* kept_input;        // or null: copies of both in bf16 for the backward pass
    half* kept_output;
    const real* weight;
    const real* bias;
    real* mean;       // [channels], written in training, read otherwise
    real* inverse;    // 1 / sqrt(var + eps), as `mean`
    real* running_mean;  // or null: not tracked
    real* running_var;
    double eps, momentum;
    int32_t training, act;
};

struct NormBackward {
    Shape shape;
    real* output_grad;  // becomes the gradient behind the activation (that of the residual)
    const void* output;  // real, or half with `halves`
    const void* input;
    real* input_grad;  // may be `output_grad`
    const real* weight;
    const real* mean;
    const real* inverse;
    real* weight_grad;
    real* bias_grad;
    int32_t training, act;
    int32_t keep;  // 1: `output_grad` must hold the residual's gradient afterwards
    int32_t halves;  // 1: `output` and `input` are bf16
};

struct Window {
    Shape in, out;
    int32_t in_h, in_w, out_h, out_w, kernel, stride, padding, unused;
};

namespace {

// What batch norm multiplies channel `c` by and adds; in training from the statistics of `in`, which
// are kept.
struct Scale {
    vec a, shift;
};
INLINE Scale scale_of(const Norm& n, int64_t c, const real* in, vec mask) {
    const Shape& s = n.shape;
    if (n.training) {
        const double count = double(s.images) * double(s.plane);
        Sum sum, squares;
        chunks(s, [&](int64_t from, int64_t to, auto masked) {
            const vec part = summed(from, to, [&](int64_t i, int) { return load(in + i * VL); });
            sum.add(masked ? part * mask : part);
        });
        const double mean = sum.total() / count;
        const vec centre = splat(real(mean));
        chunks(s, [&](int64_t from, int64_t to, auto masked) {
            const vec part = summed(from, to, [&](int64_t i, int) {
                const vec d = load(in + i * VL) - centre;
                return d * d;
            });
            squares.add(masked ? part * mask : part);
        });
        const double var = squares.total() / count;
        n.mean[c] = real(mean);
        n.inverse[c] = real(1 / __builtin_sqrt(var + n.eps));
        if (n.running_mean) {
            const double unbiased = var * count / (count - 1);
            n.running_mean[c] =
                real((1 - n.momentum) * double(n.running_mean[c]) + n.momentum * mean);
            n.running_var[c] =
                real((1 - n.momentum) * double(n.running_var[c]) + n.momentum * unbiased);
        }
    }
    const real scale = n.inverse[c] * (n.weight ? n.weight[c] : real(1));
    return {splat(scale), splat((n.bias ? n.bias[c] : real(0)) - n.mean[c] * scale)};
}

// The gradient to batch norm's input from that to its output, `g`, and its input less the mean.
struct Slope {
    vec a, slope, level;
    INLINE vec of(vec g, vec input) const { return (g - level - input * slope) * a; }
};
// sum, product: of the gradients and of them times the input less the mean; the gradients to weight
// and bias are written.
INLINE Slope slope_of(const NormBackward& n, int64_t c, double sum, double product) {
    const double inverse = double(n.inverse[c]);
    const double count = double(n.shape.images) * double(n.shape.plane);
    n.weight_grad[c] = real(product * inverse);
    n.bias_grad[c] = real(sum);
    return {splat(real(inverse * (n.weight ? double(n.weight[c]) : 1.0))),
            splat(n.training ? real(product / count * inverse * inverse) : 0),
            splat(n.training ? real(sum / count) : 0)};
}

}  // namespace
