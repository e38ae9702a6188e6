// One head and one step of it: scores, softmax, gradient, decay, momentum, update.
//
// A step reads its images' rows and the weights twice: for the scores, and for the gradient,
// which stays in registers until the weights are updated. Every sum has an order of its own
// that threads do not change: the result is the same, bit for bit, on any number of them.
#pragma once

#include <algorithm>
#include <cmath>

#include "pool.h"
#include "vector.h"

static_assert(sizeof(real) == sizeof(float), "heads are trained in float32");

constexpr int ALIGN = 16;   // floats of a cache line
constexpr int GROUP = 4;    // images whose scores are summed together
constexpr int PANEL = 512;  // columns of the weights that stay in the first-level cache
constexpr int VECTORS = VL == 16 ? 4 : 2;      // columns of a gradient's block
constexpr int MOST_SCORES = VL == 16 ? 6 : 3;  // classes: their sums fit the registers
constexpr int MOST_UPDATE = 6;
constexpr float SMALLEST = 1.17549435e-38f;  // a probability below counts as this: 87.3 nats
constexpr int PRODUCT = 8;                   // that many of them make a normal double

typedef int32_t ivec __attribute__((vector_size(VECTOR_BYTES), may_alias));

// exp(x) for x <= 0; 0 where it would be denormal; NaN for NaN. Source: Cephes, expf.
static INLINE vec exp_of(vec x) {
    const vec shift = splat(12582912.0f);  // 1.5 * 2^23: rounds to a whole number
    const vec shifted = x * splat(1.44269504088896341f) + shift;
    const vec whole = shifted - shift;
    const vec r = (x - whole * splat(0.693359375f)) + whole * splat(2.12194440e-4f);
    vec y = splat(1.9875691500e-4f);
    y = y * r + splat(1.3981999507e-3f);
    y = y * r + splat(8.3334519073e-3f);
    y = y * r + splat(4.1665795894e-2f);
    y = y * r + splat(1.6666665459e-1f);
    y = y * r + splat(5.0000001201e-1f);
    y = y * (r * r) + r + splat(1.0f);
    const ivec power = ((ivec)shifted << 23) + 0x3f800000;  // 2^whole
    return x < splat(-87.3f) ? vec{} : y * (vec)power;
}

// Zeros that become registers; an initializer would be written to memory first.
template <int N>
static INLINE void clear(vec* sums) {
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) sums[i] = vec{};
}

// Calls f.operator()<N>() with N = count, 1 <= count <= MOST.
template <int MOST, class F>
static INLINE void with_count(int count, F f) {
    if constexpr (MOST > 1) {
        if (count < MOST) return with_count<MOST - 1>(count, f);
    }
    f.template operator()<MOST>();
}

// Calls f.operator()<N>(class) for blocks of N <= MOST classes, about equally large.
template <int MOST, class F>
static INLINE void class_blocks(int begin, int end, F f) {
    const int classes = end - begin, blocks = (classes + MOST - 1) / MOST;
    for (int i = 0; i < blocks; ++i) {
        const int first = classes * i / blocks, last = classes * (i + 1) / blocks;
        with_count<MOST>(last - first, [&]<int N>() { f.template operator()<N>(begin + first); });
    }
}

// The images of a step.
struct Batch {
    const int64_t* rows;  // [size + next]: of this batch, then of the next one
    int64_t size, next;
};

struct Head {
    const float* features;  // [count][width], rows begin on cache lines, zeros at their end
    const int64_t* labels;  // [count]
    float* weights;         // [classes][width]
    float* velocity;        // [classes][width]
    float* bias;            // [classes]
    float* bias_velocity;   // [classes]
    float* scores;          // [classes][room]; then probabilities, then their gradient
    int64_t width, room;    // room: the largest batch in whole lines
    int classes;
    float decay, momentum;

    // Scores of the classes from `begin` to `end`, without the bias.
    void score(const Batch& batch, int begin, int end) const {
        for (int c = begin; c < end; ++c) std::fill_n(scores + c * room, room, 0.0f);
        for (int64_t column = 0; column < width; column += PANEL)
            class_blocks<MOST_SCORES>(begin, end, [&]<int N>(int c) {
                score_block<N>(batch, c, column, std::min(column + PANEL, width));
            });
    }

    // Probabilities from scores; then their gradient. Returns the summed loss, nats.
    double softmax(const Batch& batch) const {
        for (int64_t b = 0; b < batch.size; b += VL) {
            vec most = load(scores + b) + splat(bias[0]), sum = {};
            for (int c = 1; c < classes; ++c) {
                const vec s = load(scores + c * room + b) + splat(bias[c]);
                most = s > most ? s : most;
            }
            for (int c = 0; c < classes; ++c) {
                float* place = scores + c * room + b;
                const vec e = exp_of(load(place) + splat(bias[c]) - most);
                store(place, e);
                sum += e;
            }
            const vec scale = splat(1.0f) / sum;
            for (int c = 0; c < classes; ++c) {
                float* place = scores + c * room + b;
                store(place, load(place) * scale);
            }
        }
        double loss = 0, product = 1;
        for (int64_t b = 0; b < batch.size; ++b) {
            float& hit = scores[labels[batch.rows[b]] * room + b];
            product *= hit < SMALLEST ? SMALLEST : hit;
            hit -= 1.0f;
            if (b % PRODUCT == PRODUCT - 1 || b == batch.size - 1) {
                loss -= std::log(product);
                product = 1;
            }
        }
        return loss;
    }

    // Gradient and update of the classes from `begin` to `end`.
    void update(const Batch& batch, float rate, int begin, int end) const {
        for (int64_t column = 0; column < width; column += VECTORS * VL)
            with_count<VECTORS>(
                static_cast<int>(std::min<int64_t>(VECTORS, (width - column) / VL)),
                [&]<int V>() {
                    class_blocks<MOST_UPDATE>(begin, end, [&]<int N>(int c) {
                        update_block<N, V>(batch, rate, c, column, c == begin);
                    });
                });
        for (int c = begin; c < end; ++c) {
            vec sums = {};
            int64_t b = 0;
            for (; b + VL <= batch.size; b += VL) sums += load(scores + c * room + b);
            float sum = lane_sum(sums);
            for (; b < batch.size; ++b) sum += scores[c * room + b];
            float& v = bias_velocity[c];
            v = momentum * v + (sum / float(batch.size) + decay * bias[c]);
            bias[c] -= rate * v;
        }
    }

private:
    template <int N>
    void score_block(const Batch& batch, int c0, int64_t begin, int64_t end) const {
        const float* w = weights + c0 * width;
        for (int64_t b = 0; b < batch.size; b += GROUP) {
            // The last group repeats the last image; nobody reads those scores.
            const float* x[GROUP];
            for (int i = 0; i < GROUP; ++i)
                x[i] = features + batch.rows[std::min(b + i, batch.size - 1)] * width;
            vec sums[N][GROUP];
            clear<N * GROUP>(&sums[0][0]);
            for (int64_t d = begin; d < end; d += VL) {
                vec xs[GROUP];
#pragma GCC unroll 4
                for (int i = 0; i < GROUP; ++i) xs[i] = load(x[i] + d);
#pragma GCC unroll 8
                for (int c = 0; c < N; ++c) {
                    const vec wc = load(w + c * width + d);
#pragma GCC unroll 4
                    for (int i = 0; i < GROUP; ++i) sums[c][i] += wc * xs[i];
                }
            }
#pragma GCC unroll 8
            for (int c = 0; c < N; ++c) add_lane_sums(sums[c], scores + (c0 + c) * room + b);
        }
    }

    // `ahead`: ask for the next batch's rows meanwhile.
    template <int N, int V>
    void update_block(const Batch& batch, float rate, int c0, int64_t column, bool ahead) const {
        const int64_t place = c0 * width + column;
        for (int c = 0; c < N; ++c)
            for (int v = 0; v < V * VL; v += ALIGN) {
                __builtin_prefetch(weights + place + c * width + v, 1, 3);
                __builtin_prefetch(velocity + place + c * width + v, 1, 3);
            }
        vec sums[N][V];
        clear<N * V>(&sums[0][0]);
        const float* g = scores + c0 * room;
        for (int64_t b = 0; b < batch.size; ++b) {
            const float* x = features + batch.rows[b] * width + column;
            vec xs[V];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) xs[v] = load(x + v * VL);
#pragma GCC unroll 8
            for (int c = 0; c < N; ++c) {
                const vec gc = splat(g[c * room + b]);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) sums[c][v] += gc * xs[v];
            }
            if (ahead && b < batch.next) {
                const float* soon = features + batch.rows[batch.size + b] * width + column;
                for (int v = 0; v < V * VL; v += ALIGN) __builtin_prefetch(soon + v, 0, 2);
            }
        }
        const vec share = splat(1.0f / float(batch.size)), pace = splat(rate);
        const vec kept = splat(momentum), fading = splat(decay);
#pragma GCC unroll 8
        for (int c = 0; c < N; ++c)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) {
                float* wp = weights + place + c * width + v * VL;
                float* vp = velocity + place + c * width + v * VL;
                const vec w = load(wp);
                const vec moved = kept * load(vp) + (share * sums[c][v] + fading * w);
                store(vp, moved);
                store(wp, w - pace * moved);
            }
    }
};
