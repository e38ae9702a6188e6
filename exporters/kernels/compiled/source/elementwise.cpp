// Layout conversion, batch norm, activations, residuals, pooling: all that lies between the
// convolutions, one channel at a time, while the channel's planes are in the cache.
#include "elementwise.h"
#include "pool.h"

extern "C" {

int sparse_lanes() { return VL; }
int sparse_most_forward() { return MOST_FORWARD; }
int sparse_most_backward() { return MOST_BACKWARD; }
int sparse_most_alike() { return MOST_ALIKE / ALIKE; }

// images [N, C, H, W] -> [C][B][H*W][VL], unused lanes zero.
void sparse_to_blocked(const Shape* shape, const real* from, real* to, int threads) {
    const Shape& s = *shape;
    Pool::instance().run(s.channels * s.blocks, threads, [&](int64_t task) {
        const int64_t c = task / s.blocks, b = task % s.blocks;
        real* out = to + c * s.channel_stride + b * s.plane * VL;
        for (int64_t n = 0; n < VL; ++n) {
            const int64_t image = b * VL + n;
            if (image < s.images) {
                const real* in = from + (image * s.channels + c) * s.plane;
                for (int64_t i = 0; i < s.plane; ++i) out[i * VL + n] = in[i];
            } else {
                for (int64_t i = 0; i < s.plane; ++i) out[i * VL + n] = 0;
            }
        }
    });
}

void sparse_from_blocked(const Shape* shape, const real* from, real* to, int threads) {
    const Shape& s = *shape;
    Pool::instance().run(s.channels * s.blocks, threads, [&](int64_t task) {
        const int64_t c = task / s.blocks, b = task % s.blocks;
        const real* in = from + c * s.channel_stride + b * s.plane * VL;
        for (int64_t n = 0; n < VL && b * VL + n < s.images; ++n) {
            real* out = to + ((b * VL + n) * s.channels + c) * s.plane;
            for (int64_t i = 0; i < s.plane; ++i) out[i] = in[i * VL + n];
        }
    });
}

// output = act((input - mean) * inverse * weight + bias + residual)
void sparse_norm(const Norm* call, int threads) {
    const Norm& n = *call;
    const Shape& s = n.shape;
    const vec mask = last_mask(s);
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        const real* in = n.input + c * s.channel_stride;
        const auto [a, shift] = scale_of(n, c, in, mask);
        real* out = n.output + c * s.channel_stride;
        const real* residual = n.residual ? n.residual + c * s.channel_stride : nullptr;
        half* kept_in = n.kept_input ? n.kept_input + c * s.channel_stride : nullptr;
        half* kept_out = n.kept_input ? n.kept_output + c * s.channel_stride : nullptr;
        chunks(s, [&](int64_t from, int64_t to, auto masked) {
            for (int64_t i = from * VL; i < to * VL; i += VL) {
                const vec x = load(in + i);
                vec v = x * a + shift;
                if (residual) v += load(residual + i);
                v = activate(v, n.act);
                // Lanes without an image stay zero: nothing can overflow in them.
                if (masked) v *= mask;
                store(out + i, v);
                if (kept_in) {
                    store(kept_in + i, x);
                    store(kept_out + i, v);
                }
            }
        });
    });
}

}  // extern "C"

// T: of which the pass before kept its input and output.
template <class T>
static void norm_backward(const NormBackward& n, int threads) {
    const Shape& s = n.shape;
    const vec mask = last_mask(s);
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        const int64_t place = c * s.channel_stride;
        real* g = n.output_grad + place;
        const T* z = static_cast<const T*>(n.output) + place;
        const T* y = static_cast<const T*>(n.input) + place;
        real* gy = n.input_grad + place;
        const vec mean = splat(n.mean[c]);
        Sum sum, product;
        chunks(s, [&](int64_t from, int64_t to, auto) {
            vec second[4] = {};
            sum.add(summed(from, to, [&](int64_t i, int k) {
                const vec v = activate_backward(load(g + i * VL), load(z + i * VL), n.act);
                if (n.keep) store(g + i * VL, v);
                second[k] += v * (load(y + i * VL) - mean);
                return v;
            }));
            product.add((second[0] + second[1]) + (second[2] + second[3]));
        });
        const Slope slope = slope_of(n, c, sum.total(), product.total());
        const int act = n.keep ? int(ACT_NONE) : n.act;
        chunks(s, [&](int64_t from, int64_t to, auto masked) {
            for (int64_t i = from * VL; i < to * VL; i += VL) {
                vec v = act == ACT_NONE ? load(g + i) : activate_backward(load(g + i), load(z + i), act);
                v = slope.of(v, load(y + i) - mean);
                // Lanes without an image must not reach the sums over images later on.
                store(gy + i, masked ? v * mask : v);
            }
        });
    });
}

extern "C" {

void sparse_norm_backward(const NormBackward* call, int threads) {
    call->halves ? norm_backward<half>(*call, threads) : norm_backward<real>(*call, threads);
}

// output = act(input + residual); the backward pass masks `grad` in place.
void sparse_act(const Shape* shape, const real* in, const real* residual, real* out, int act,
                int threads) {
    const Shape& s = *shape;
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        for (int64_t i = c * s.channel_stride; i < c * s.channel_stride + s.blocks * s.plane * VL;
             i += VL) {
            vec v = load(in + i);
            if (residual) v += load(residual + i);
            store(out + i, activate(v, act));
        }
    });
}

void sparse_act_backward(const Shape* shape, real* grad, const real* out, int act, int threads) {
    const Shape& s = *shape;
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        for (int64_t i = c * s.channel_stride; i < c * s.channel_stride + s.blocks * s.plane * VL;
             i += VL)
            store(grad + i, activate_backward(load(grad + i), load(out + i), act));
    });
}

void sparse_channel_sums(const Shape* shape, const real* in, real* sums, int threads) {
    const Shape& s = *shape;
    const vec mask = last_mask(s);
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        Sum sum;
        const real* p = in + c * s.channel_stride;
        chunks(s, [&](int64_t from, int64_t to, auto masked) {
            vec part = {};
            for (int64_t i = from; i < to; ++i) part += load(p + i * VL);
            sum.add(masked ? part * mask : part);
        });
        sums[c] = real(sum.total());
    });
}

void sparse_max_pool(const Window* window, const real* in, real* out, int threads) {
    const Window& w = *window;
    Pool::instance().run(w.in.channels * w.in.blocks, threads, [&](int64_t task) {
        const int64_t c = task / w.in.blocks, b = task % w.in.blocks;
        const real* x = in + c * w.in.channel_stride + b * w.in.plane * VL;
        real* z = out + c * w.out.channel_stride + b * w.out.plane * VL;
        for (int i = 0; i < w.out_h; ++i)
            for (int j = 0; j < w.out_w; ++j) {
                vec best = splat(-__builtin_inf());
                for (int k = 0; k < w.kernel * w.kernel; ++k) {
                    const int h = i * w.stride - w.padding + k / w.kernel;
                    const int v = j * w.stride - w.padding + k % w.kernel;
                    if (h < 0 || v < 0 || h >= w.in_h || v >= w.in_w) continue;
                    const vec next = load(x + (h * w.in_w + v) * VL);
                    best = (next > best) | (next != next) ? next : best;  // a NaN wins
                }
                store(z + (i * w.out_w + j) * VL, best);
            }
    });
}

// The gradient goes to the first of equal values, as in PyTorch.
void sparse_max_pool_backward(const Window* window, const real* in, const real* out,
                              const real* out_grad, real* in_grad, int threads) {
    const Window& w = *window;
    Pool::instance().run(w.in.channels * w.in.blocks, threads, [&](int64_t task) {
        const int64_t c = task / w.in.blocks, b = task % w.in.blocks;
        const int64_t from = c * w.in.channel_stride + b * w.in.plane * VL;
        const int64_t to = c * w.out.channel_stride + b * w.out.plane * VL;
        const real* x = in + from;
        real* gx = in_grad + from;
        std::memset(gx, 0, sizeof(real) * size_t(w.in.plane) * VL);
        for (int i = 0; i < w.out_h; ++i)
            for (int j = 0; j < w.out_w; ++j) {
                const vec best = load(out + to + (i * w.out_w + j) * VL);
                vec left = load(out_grad + to + (i * w.out_w + j) * VL);
                const vec zero = {};
                for (int k = 0; k < w.kernel * w.kernel; ++k) {
                    const int h = i * w.stride - w.padding + k / w.kernel;
                    const int v = j * w.stride - w.padding + k % w.kernel;
                    if (h < 0 || v < 0 || h >= w.in_h || v >= w.in_w) continue;
                    const vec value = load(x + (h * w.in_w + v) * VL);
                    real* place = gx + (h * w.in_w + v) * VL;
                    const auto hit = (value == best) | (value != value);
                    store(place, load(place) + (hit ? left : zero));
                    left = hit ? zero : left;
                }
            }
    });
}

// [C][B][H*W][VL] -> features [N, C], the mean over H*W.
void sparse_mean_pool(const Shape* shape, const real* in, real* out, int threads) {
    const Shape& s = *shape;
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        for (int64_t b = 0; b < s.blocks; ++b) {
            vec sum = {};
            for (int64_t i = 0; i < s.plane; ++i)
                sum += load(in + c * s.channel_stride + (b * s.plane + i) * VL);
            sum /= splat(real(s.plane));
            for (int64_t n = 0; n < VL && b * VL + n < s.images; ++n)
                out[(b * VL + n) * s.channels + c] = sum[n];
        }
    });
}

void sparse_mean_pool_backward(const Shape* shape, const real* grad, real* in_grad, int threads) {
    const Shape& s = *shape;
    Pool::instance().run(s.channels, threads, [&](int64_t c) {
        for (int64_t b = 0; b < s.blocks; ++b) {
            vec g = {};
            for (int64_t n = 0; n < VL && b * VL + n < s.images; ++n)
                g[n] = grad[(b * VL + n) * s.channels + c] / real(s.plane);
            for (int64_t i = 0; i < s.plane; ++i)
                store(in_grad + c * s.channel_stride + (b * s.plane + i) * VL, g);
        }
    });
}

struct EntryOut {
    real weight;
    int32_t offset;
};

// entries[i].weight = values[order[i]]
void sparse_pack(int64_t count, const real* values, const int32_t* order, void* entries,
                 int threads) {
    auto* e = static_cast<EntryOut*>(entries);
    const int64_t piece = 16384;
    Pool::instance().run((count + piece - 1) / piece, threads, [&](int64_t task) {
        const int64_t to = (task + 1) * piece < count ? (task + 1) * piece : count;
        for (int64_t i = task * piece; i < to; ++i) e[i].weight = values[order[i]];
    });
}

// values[order[i]] = packed[i]
void sparse_unpack(int64_t count, const real* packed, const int32_t* order, real* values,
                   int threads) {
    const int64_t piece = 16384;
    Pool::instance().run((count + piece - 1) / piece, threads, [&](int64_t task) {
        const int64_t to = (task + 1) * piece < count ? (task + 1) * piece : count;
        for (int64_t i = task * piece; i < to; ++i) values[order[i]] = packed[i];
    });
}

}  // extern "C"
