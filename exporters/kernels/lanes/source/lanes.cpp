// Operators of networks whose values hold one image in each lane: a number of the graph is a vector
// of VL images, and a value is a strided array of such vectors.
#include <cmath>
#include <cstdint>

#include "folded.h"
#include "pool.h"
#include "vector.h"

constexpr int DIMS = 4;
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));

// An operand of an instruction: a row in the worker's own memory, or one of a value.
enum Where : int32_t { REGISTER = 0, VALUE = 1, CONSTANT = 2, NUMBER = 3 };

struct Operand {
    int32_t where, number;   // number: of the register
    const void* base;        // of a value (vectors) or a constant (floats)
    int64_t outer[DIMS], row;  // strides, vectors or floats
    real value;
    int32_t length;          // 1, or 0 for the whole row
};

enum Op : int32_t {
    COPY, ADD, SUB, MUL, DIV, MAX, MIN, POW, SQRT, EXP, ERF, TANH, SIGMOID, HARD_SIGMOID, LEAKY,
    ABS, LOG, GELU, SILU, SUM, AVERAGE, MOST
};

struct Instruction {
    int32_t op, length;  // length: 1, or 0 for the whole row
    Operand a, b, out;
    int32_t keep, unused;  // register that later instructions read, or -1
    real first, second;    // of some operators
};

struct Rows {
    int64_t dims[DIMS], length, piece;  // piece: of a row that is taken at once
    int64_t count, registers;
    const Instruction* instructions;
};

// e^v: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes' expf). Adding 1.5 * 2^23 rounds to a whole
// number, which then is the sum's last bits. A NaN goes through all of it.
static INLINE vec exponential(vec v) {
    const vec high = splat(88.3762626647949f), low = splat(-87.3365478515625f);
    v = v > high ? high : v;
    v = v < low ? low : v;
    const vec magic = splat(12582912.0f), shifted = v * splat(1.44269504088896341f) + magic;
    const vec whole = shifted - magic;
    const vec r = v - whole * splat(0.693359375f) + whole * splat(2.12194440e-4f);
    vec p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    return p * (vec)(((ints)shifted << 23) + (127 << 23));
}

// Abramowitz and Stegun 7.1.26: at most 1.5e-7 off.
static INLINE vec error_function(vec v) {
    const vec one = splat(1), x = v < vec{} ? -v : v;
    const vec t = one / (one + splat(0.3275911f) * x);
    vec p = splat(1.061405429f);
    p = p * t + splat(-1.453152027f);
    p = p * t + splat(1.421413741f);
    p = p * t + splat(-0.284496736f);
    p = p * t + splat(0.254829592f);
    const vec y = one - p * t * exponential(-x * x);
    return v < vec{} ? -y : y;
}

static INLINE vec logistic(vec v) { return splat(1) / (splat(1) + exponential(-v)); }

// Where both are finite, comparisons choose; a NaN stays one.
static INLINE vec larger(vec a, vec b) { return (b > a) | (b != b) ? b : a; }
static INLINE vec smaller(vec a, vec b) { return (b < a) | (b != b) ? b : a; }

template <typename F>
static INLINE void each(int64_t n, const vec* a, int64_t sa, const vec* b, int64_t sb, vec* out,
                        F f) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i * sa], b[i * sb]);
}

template <typename F>
static INLINE void lanes_of(int64_t n, const vec* a, int64_t sa, const vec* b, int64_t sb, vec* out,
                            F f) {
    for (int64_t i = 0; i < n; ++i) {
        const vec x = a[i * sa], y = b[i * sb];
        vec z;
        for (int l = 0; l < VL; ++l) z[l] = f(x[l], y[l]);
        out[i] = z;
    }
}

static void compute(const Instruction& in, int64_t n, const vec* a, int64_t sa, const vec* b,
                    int64_t sb, vec* out) {
    const vec p = splat(in.first), q = splat(in.second);
    switch (in.op) {
        case COPY: return each(n, a, sa, b, sb, out, [](vec x, vec) { return x; });
        case ADD: return each(n, a, sa, b, sb, out, [](vec x, vec y) { return x + y; });
        case SUB: return each(n, a, sa, b, sb, out, [](vec x, vec y) { return x - y; });
        case MUL: return each(n, a, sa, b, sb, out, [](vec x, vec y) { return x * y; });
        case DIV: return each(n, a, sa, b, sb, out, [](vec x, vec y) { return x / y; });
        case MAX: return each(n, a, sa, b, sb, out, larger);
        case MIN: return each(n, a, sa, b, sb, out, smaller);
        case POW:
            return lanes_of(n, a, sa, b, sb, out, [](real x, real y) { return std::pow(x, y); });
        case SQRT:
            return lanes_of(n, a, sa, b, sb, out, [](real x, real) { return std::sqrt(x); });
        case LOG:
            return lanes_of(n, a, sa, b, sb, out, [](real x, real) { return std::log(x); });
        case EXP: return each(n, a, sa, b, sb, out, [](vec x, vec) { return exponential(x); });
        case ERF: return each(n, a, sa, b, sb, out, [](vec x, vec) { return error_function(x); });
        case TANH:
            return each(n, a, sa, b, sb, out, [](vec x, vec) {
                return splat(2) * logistic(splat(2) * x) - splat(1);
            });
        case SIGMOID: return each(n, a, sa, b, sb, out, [](vec x, vec) { return logistic(x); });
        case HARD_SIGMOID:
            return each(n, a, sa, b, sb, out, [=](vec x, vec) {
                return smaller(larger(x * p + q, vec{}), splat(1));
            });
        case LEAKY:
            return each(n, a, sa, b, sb, out, [=](vec x, vec) { return x < vec{} ? x * p : x; });
        case ABS: return each(n, a, sa, b, sb, out, [](vec x, vec) { return x < vec{} ? -x : x; });
        case GELU:
            return each(n, a, sa, b, sb, out, [](vec x, vec) {
                return splat(0.5f) * x * (splat(1) + error_function(x * splat(0.70710678118654752f)));
            });
        case SILU:
            return each(n, a, sa, b, sb, out,
                        [](vec x, vec) { return x / (splat(1) + exponential(-x)); });
        default: break;
    }
    vec total = in.op == MOST ? a[0] : vec{};
    if (in.op == MOST)
        for (int64_t i = 1; i < n; ++i) total = larger(total, a[i * sa]);
    else
        for (int64_t i = 0; i < n; ++i) total += a[i * sa];
    *out = in.op == AVERAGE ? total / splat(real(n)) : total;
}

// A row of an operand as vectors side by side (or one vector, stride 0).
static INLINE const vec* fetch(const Operand& o, const int64_t* at, int64_t first, int64_t n,
                               const vec* const* rows, vec* room, int64_t& stride) {
    stride = 1;
    if (o.where == REGISTER) {
        stride = o.length ? 0 : 1;
        return rows[o.number];
    }
    if (o.where == NUMBER) {
        stride = 0;
        *room = splat(o.value);
        return room;
    }
    int64_t place = o.row * first;
    for (int d = 0; d < DIMS; ++d) place += o.outer[d] * at[d];
    if (o.where == CONSTANT) {
        const real* from = static_cast<const real*>(o.base) + place;
        if (o.row == 0) {
            stride = 0;
            *room = splat(*from);
            return room;
        }
        for (int64_t i = 0; i < n; ++i) room[i] = splat(from[i * o.row]);
        return room;
    }
    const vec* from = static_cast<const vec*>(o.base) + place;
    stride = o.row;
    return from;
}

static void row(const Rows& p, const int64_t* at, int64_t first, int64_t n, vec* memory,
                int64_t room, const vec** rows) {
    vec* const left = memory + p.registers * room;
    vec* const right = left + room;
    for (int64_t i = 0; i < p.count; ++i) {
        const Instruction& in = p.instructions[i];
        const int64_t own = in.length ? 1 : n;
        const bool reduces = in.op >= SUM;
        const int64_t many = reduces ? (in.a.length ? 1 : n) : own;
        int64_t sa, sb = 0, place = in.out.row * first;
        const vec* a = fetch(in.a, at, first, many, rows, left, sa);
        const vec* b = a;
        if (in.b.where != NUMBER || in.op < SQRT) b = fetch(in.b, at, first, many, rows, right, sb);
        vec* out = in.keep >= 0 ? memory + in.keep * room : left;
        if (in.out.where == VALUE) {
            for (int d = 0; d < DIMS; ++d) place += in.out.outer[d] * at[d];
            out = const_cast<vec*>(static_cast<const vec*>(in.out.base)) + place;
        }
        compute(in, many, a, sa, b, sb, out);
        if (in.keep >= 0) rows[in.keep] = out;
    }
}

// How often a task is taken: a few for each thread.
static INLINE int64_t pieces_of(int64_t count, int threads) {
    const int64_t wanted = threads > 1 ? 8 * threads : 1;
    return count < wanted ? count : wanted;
}

struct Product {
    int64_t batch[DIMS], m, n, k;
    const vec *a, *b;
    vec* out;
    int64_t a_batch[DIMS], a_m, a_k, b_batch[DIMS], b_k, b_n, out_batch[DIMS], out_m, out_n;
};

// A product's pieces of a and b are packed, several rows or columns of a place side by side: where
// these lie whole pages apart they would displace each other. A piece of b (30 KB) stays in the
// first-level cache, one of a (246 KB) in the second.
constexpr int64_t ROWS = 48, TILE_ROWS = 4, TILE_COLUMNS = 6, SUMMED = 80;

// Adds what `count` places of the sum give to M rows and N columns of the output, or begins them.
template <int M, int N>
static INLINE void tile(const Product& p, const vec* a, const vec* b, vec* out, int64_t count,
                        bool begins) {
    vec sums[M][N];
    for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j)
            sums[i][j] = begins ? vec{} : out[i * p.out_m + j * p.out_n];
    for (int64_t k = 0; k < count; ++k, a += M, b += N) {
        vec right[N];
#pragma GCC unroll 6
        for (int j = 0; j < N; ++j) right[j] = b[j];
#pragma GCC unroll 4
        for (int i = 0; i < M; ++i) {
            const vec left = a[i];
#pragma GCC unroll 6
            for (int j = 0; j < N; ++j) sums[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) out[i * p.out_m + j * p.out_n] = sums[i][j];
}

// So many rows (or columns) at a time while they last, then one by one; each packed in turn.
template <int64_t M>
static void pack(const vec* from, int64_t rows, int64_t row, int64_t count, int64_t place, vec* to) {
    for (int64_t i = 0; i < rows;) {
        const int64_t many = rows - i < M ? 1 : M;
        for (int64_t k = 0; k < count; ++k)
            for (int64_t m = 0; m < many; ++m) *to++ = from[(i + m) * row + k * place];
        i += many;
    }
}

template <int N>
static INLINE void columns(const Product& p, const vec* a, const vec* b, vec* out, int64_t rows,
                           int64_t count, bool begins) {
    constexpr int M = TILE_ROWS;
    int64_t i = 0;
    for (; rows - i >= M; i += M)
        tile<M, N>(p, a + i * count, b, out + i * p.out_m, count, begins);
    for (; i < rows; ++i) tile<1, N>(p, a + i * count, b, out + i * p.out_m, count, begins);
}

// Some rows of the output; `left` has room for the piece of a.
static void product_rows(const Product& p, const vec* a, const vec* b, vec* out, int64_t rows,
                         vec* left) {
    constexpr int N = TILE_COLUMNS;
    vec right[SUMMED * N];
    for (int64_t k = 0; k < p.k; k += SUMMED) {
        const int64_t count = p.k - k < SUMMED ? p.k - k : SUMMED;
        pack<TILE_ROWS>(a + k * p.a_k, rows, p.a_m, count, p.a_k, left);
        for (int64_t j = 0; j < p.n;) {
            const int64_t wide = p.n - j < N ? 1 : N;
            pack<N>(b + k * p.b_k + j * p.b_n, wide, p.b_n, count, p.b_k, right);
            if (wide == N)
                columns<N>(p, left, right, out + j * p.out_n, rows, count, k == 0);
            else
                columns<1>(p, left, right, out + j * p.out_n, rows, count, k == 0);
            j += wide;
        }
    }
}

struct Window {
    int64_t channels, height, width, in_height, in_width;
    int64_t kernel_y, kernel_x, stride_y, stride_x, top, left, dilation_y, dilation_x;
    const vec* in;
    vec* out;
    int64_t in_c, in_y, in_x, out_c, out_y, out_x;
    int32_t mean, count_all;  // count_all: what lies outside counts in a mean
};

struct Sparse {  // a convolution whose pattern is read
    int64_t channels, in_channel, out_channel;  // bytes between channels
    const int64_t* starts;                      // [channels + 1]
    const int64_t* offsets;                     // of each entry, bytes
    const int32_t* taps;
    const real *weights, *bias;
    const Place* places;
    int64_t places_count;
    int32_t act, all_seen;
};

template <int P>
static INLINE void sparse_places(const Sparse& s, const char* in, char* out, const char* residual,
                                 const Place* at) {
    for (int64_t c = 0; c < s.channels; ++c) {
        vec sums[P];
        for (int p = 0; p < P; ++p) sums[p] = splat(s.bias ? s.bias[c] : 0);
        for (int64_t e = s.starts[c]; e < s.starts[c + 1]; ++e) {
            const vec w = splat(s.weights[e]);
#pragma GCC unroll 4
            for (int p = 0; p < P; ++p)
                if (P > 1 || s.all_seen || (at[p].bits >> s.taps[e] & 1))
                    sums[p] += w * *reinterpret_cast<const vec*>(in + at[p].in + s.offsets[e]);
        }
        for (int p = 0; p < P; ++p) {
            const int64_t place = at[p].out + c * s.out_channel;
            if (residual) sums[p] += *reinterpret_cast<const vec*>(residual + place);
            *reinterpret_cast<vec*>(out + place) = activate(sums[p], s.act);
        }
    }
}

extern "C" {

int lanes_width() { return VL; }

// Images [images, count] (rows of numbers) to lanes and back; a missing image is zeros. A line of an
// image is read whole: planes often lie whole pages apart, where their lines displace each other.
void lanes_gather(const real* images, int64_t have, int64_t channels, int64_t plane, vec* out,
                  int threads) {
    constexpr int64_t LINE = 16;
    const int64_t lines = (plane + LINE - 1) / LINE, tasks = pieces_of(lines, threads);
    Pool::instance().run(tasks, threads, [&](int64_t task) {
        for (int64_t line = lines * task / tasks; line < lines * (task + 1) / tasks; ++line) {
            const int64_t i = line * LINE, n = i + LINE > plane ? plane - i : LINE;
            for (int64_t c = 0; c < channels; ++c) {
                vec* const to = out + i * channels + c;
                if (have < VL)
                    for (int64_t k = 0; k < n; ++k) to[k * channels] = vec{};
                for (int64_t l = 0; l < have; ++l) {
                    const real* const from = images + (l * channels + c) * plane + i;
                    for (int64_t k = 0; k < n; ++k) to[k * channels][l] = from[k];
                }
            }
        }
    });
}

void lanes_scatter(const vec* in, int64_t stride, int64_t count, int64_t have, real* out) {
    for (int64_t i = 0; i < count; ++i)
        for (int64_t l = 0; l < have; ++l) out[l * count + i] = in[i * stride][l];
}

void lanes_rows(const Rows* given, vec* memory, int64_t room, int64_t each_memory, int threads) {
    const Rows& p = *given;
    const int64_t count = p.dims[0] * p.dims[1] * p.dims[2] * p.dims[3];
    const int64_t cuts = (p.length + p.piece - 1) / p.piece;
    const int64_t tasks = pieces_of(count, threads);
    Pool::instance().run(tasks, threads, [&](int64_t task) {
        const vec* rows[64];
        vec* own = memory + task % (8 * threads) * each_memory;
        for (int64_t i = count * task / tasks; i < count * (task + 1) / tasks; ++i) {
            int64_t at[DIMS], rest = i;
            for (int d = DIMS - 1; d >= 0; --d) {
                at[d] = rest % p.dims[d];
                rest /= p.dims[d];
            }
            for (int64_t cut = 0; cut < cuts; ++cut) {
                const int64_t first = cut * p.piece;
                const int64_t n = first + p.piece > p.length ? p.length - first : p.piece;
                row(p, at, first, n, own, room, rows);
            }
        }
    });
}

void lanes_product(const Product* given, int threads) {
    const Product& p = *given;
    const int64_t batches = p.batch[0] * p.batch[1] * p.batch[2] * p.batch[3];
    const int64_t pieces = (p.m + ROWS - 1) / ROWS;
    Pool::instance().run(batches * pieces, threads, [&](int64_t task) {
        int64_t rest = task / pieces;
        const int64_t i = task % pieces * ROWS;
        const vec *a = p.a + i * p.a_m, *b = p.b;
        vec* out = p.out + i * p.out_m;
        for (int d = DIMS - 1; d >= 0; --d) {
            const int64_t at = rest % p.batch[d];
            rest /= p.batch[d];
            a += at * p.a_batch[d];
            b += at * p.b_batch[d];
            out += at * p.out_batch[d];
        }
        static thread_local vec left[ROWS * SUMMED];
        product_rows(p, a, b, out, p.m - i < ROWS ? p.m - i : ROWS, left);
    });
}

void lanes_window(const Window* given, int threads) {
    constexpr int64_t K = 8;  // channels side by side: what a place holds is read in order
    const Window& w = *given;
    const int64_t blocks = (w.channels + K - 1) / K;
    Pool::instance().run(w.height * w.width * blocks, threads, [&](int64_t task) {
        const int64_t y = task / blocks / w.width, x = task / blocks % w.width;
        const int64_t first = task % blocks * K;
        const int64_t many = w.channels - first < K ? w.channels - first : K;
        const int64_t top = y * w.stride_y - w.top, left = x * w.stride_x - w.left;
        vec found[K];
        for (int k = 0; k < K; ++k) found[k] = w.mean ? vec{} : splat(-__builtin_inf());
        int64_t seen = 0;
        for (int64_t i = 0; i < w.kernel_y; ++i) {
            const int64_t v = top + i * w.dilation_y;
            if (v < 0 || v >= w.in_height) continue;
            for (int64_t j = 0; j < w.kernel_x; ++j) {
                const int64_t u = left + j * w.dilation_x;
                if (u < 0 || u >= w.in_width) continue;
                const vec* in = w.in + v * w.in_y + u * w.in_x + first * w.in_c;
                ++seen;
                if (w.mean)
                    for (int64_t k = 0; k < many; ++k) found[k] += in[k * w.in_c];
                else
                    for (int64_t k = 0; k < many; ++k) found[k] = larger(found[k], in[k * w.in_c]);
            }
        }
        const vec count = splat(real(w.count_all ? w.kernel_y * w.kernel_x : seen));
        vec* out = w.out + y * w.out_y + x * w.out_x + first * w.out_c;
        for (int64_t k = 0; k < many; ++k) out[k * w.out_c] = w.mean ? found[k] / count : found[k];
    });
}

// Generated code on all places, tile after tile, in pieces of about equal work; see folded.h.
void lanes_generated(const Generated* given, const real* in, real* out, const real* residual,
                     int threads) {
    const Generated& g = *given;
    const int64_t chains = g.functions_count / g.chain;
    int64_t pieces = threads > 1 ? (4 * threads + chains - 1) / chains : 1;
    const int64_t tiles = (g.places_count + g.tile - 1) / g.tile;
    pieces = pieces > tiles ? pieces : tiles;
    pieces = pieces > g.places_count ? g.places_count : pieces;
    Pool::instance().run(chains * pieces, threads, [&](int64_t task) {
        // What a tile reads stays near while one chain after the other runs on it.
        const int64_t chain = tiles > 1 ? task % chains : task / pieces;
        const int64_t i = tiles > 1 ? task / chains : task % pieces;
        for (int64_t f = chain * g.chain; f < (chain + 1) * g.chain; ++f)
            g.functions[f](in, out, residual, g.weights, g.places + g.places_count * i / pieces,
                           g.places + g.places_count * (i + 1) / pieces);
    });
}

void lanes_sparse(const Sparse* given, const char* in, char* out, const char* residual,
                  int threads) {
    const Sparse& s = *given;
    const int64_t tasks = pieces_of(s.places_count, threads);
    Pool::instance().run(tasks, threads, [&](int64_t task) {
        const int64_t end = s.places_count * (task + 1) / tasks;
        for (int64_t i = s.places_count * task / tasks; i < end;) {
            if (s.all_seen && i + 4 <= end) {
                sparse_places<4>(s, in, out, residual, s.places + i);
                i += 4;
            } else {
                sparse_places<1>(s, in, out, residual, s.places + i++);
            }
        }
    });
}

}  // extern "C"
