// The gradient of a convolution's non-zeros on the processor's matrix unit (AMX).
//
// The unit multiplies two tiles of bf16 and adds to one of float32: 16 outputs by up to 16 rows of the
// input, 32 products each. So all pairs of channels are computed, and the non-zeros' sums are kept.
// Lanes of two blocks of images are the 32 numbers that a product is summed over. A chunk is rows of
// the output of one pair of blocks, or whole planes of several: what it sees of the input is copied
// with the zeros around its planes, its channels side by side, and the output's gradient with the
// lanes of 16 channels side by side, as the unit reads its second operand.
#include "pool.h"
#include "vector.h"

#if defined(__linux__)
#include <sys/syscall.h>
#endif

struct MatrixSums {
    const int64_t* units;  // [units_count]: from a place's vectors in the window to a unit's first row
    const int32_t* where;  // [count]: the sum that is each gradient
    int64_t count, units_count;
    int64_t rows, row;  // of a unit, 16 at most; distance of two, elements of the window
    int64_t channels, window_channels, height, width, channel;  // the last in elements of the input
    int64_t out_channels, out_rows, out_columns, out_channel;
    int64_t image_blocks, chunk_images, chunk_rows, window_rows, window_columns;
    int64_t stride_y, stride_x, top, left;
};

#if defined(__AVX512F__) && !defined(SPARSE_DOUBLE) && defined(__linux__) && defined(__x86_64__)

namespace {

constexpr int64_t TILE = 16, PAIR = 32;  // rows and columns; bf16 of a pair of vectors
constexpr int64_t RUN = 8;               // pixels

// As `ldtilecfg` reads it. Registers 0 to 3 are sums, 4 and 5 rows of the input, 6 and 7 outputs.
struct Configuration {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
    explicit Configuration(int64_t of_input) {
        for (int i = 0; i < 8; ++i) {
            row_bytes[i] = 64;
            rows[i] = uint8_t(i < 6 ? of_input : TILE);
        }
    }
};
static_assert(sizeof(Configuration) == 64);

#define TILE_LOAD(tile, from, stride)                                                       \
    asm volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(int64_t(stride)) : "memory")
#define TILE_STORE(tile, to, stride)                                                        \
    asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(int64_t(stride)) : "memory")
#define TILE_ADD(sum, input, output) \
    asm volatile("tdpbf16ps %%tmm" #output ", %%tmm" #input ", %%tmm" #sum ::)
#define TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile ::)

__attribute__((target("avx512bf16"))) INLINE vec pair_of(const real* low, const real* high) {
    const __m512 other = high ? _mm512_load_ps(high) : _mm512_setzero_ps();
    return (vec)(__m512i)_mm512_cvtne2ps_pbh(other, _mm512_load_ps(low));
}
INLINE vec pair_of(const half* low, const half* high) {
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low));
    const __m256i second = high ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high))
                                : _mm256_setzero_si256();
    return (vec)_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}

struct Chunk {
    int64_t image, images, row, rows;  // pairs of blocks of images, rows of the output
};

// Channels [from, to) of what a chunk sees of the input.
template <class T>
__attribute__((target("avx512bf16"))) void copy_input(const MatrixSums& m, const T* x, const Chunk& k,
                                                      int64_t from, int64_t to, half* window) {
    const int64_t plane = m.height * m.width * VL;
    for (int64_t i = 0; i < k.images; ++i) {
        const int64_t block = 2 * (k.image + i);
        const int64_t other = block + 1 < m.image_blocks ? plane : 0;
        const T* first = x + block * plane;
        const auto zeros = [&](half* place, int64_t count) {
            for (int64_t p = 0; p < count; ++p, place += m.window_channels * PAIR)
                std::memset(place + from * PAIR, 0, sizeof(half) * PAIR * size_t(to - from));
        };
        const int64_t left = m.left < m.window_columns ? m.left : m.window_columns;
        const int64_t pixels = m.window_columns - left < m.width ? m.window_columns - left : m.width;
        for (int64_t h = 0; h < m.window_rows; ++h) {
            const int64_t step = m.window_channels * PAIR, y = k.row * m.stride_y - m.top + h;
            half* place = window + (i * m.window_rows + h) * m.window_columns * step;
            if (y < 0 || y >= m.height) {
                zeros(place, m.window_columns);
                continue;
            }
            zeros(place, left);
            zeros(place + (left + pixels) * step, m.window_columns - left - pixels);
            // A few pixels of each channel at a time, which lie side by side in memory.
            for (int64_t w = 0; w < pixels; w += RUN)
                for (int64_t c = from; c < to; ++c) {
                    const T* low = first + c * m.channel + (y * m.width + w) * VL;
                    half* target = place + (left + w) * step + c * PAIR;
                    for (int64_t p = 0; p < RUN && w + p < pixels; ++p, low += VL, target += step)
                        store(reinterpret_cast<real*>(target),
                              pair_of(low, other ? low + other : nullptr));
                }
        }
    }
}

// The gradient of up to 16 outputs from `from` on: a tile for each place of the chunk.
__attribute__((target("avx512bf16"))) void copy_gradient(const MatrixSums& m, const real* g,
                                                         const Chunk& k, int64_t from, half* tiles) {
    const int64_t plane = m.out_rows * m.out_columns * VL;
    const int64_t count = m.out_channels - from < TILE ? m.out_channels - from : TILE;
    for (int64_t i = 0; i < k.images; ++i) {
        const int64_t block = 2 * (k.image + i);
        const int64_t other = block + 1 < m.image_blocks ? plane : 0;
        const real* first = g + from * m.out_channel + block * plane + k.row * m.out_columns * VL;
        for (int64_t p = 0; p < k.rows * m.out_columns; ++p, tiles += TILE * PAIR) {
            vec rows[TILE] = {};
            for (int64_t o = 0; o < count; ++o) {
                const real* low = first + o * m.out_channel + p * VL;
                rows[o] = pair_of(low, other ? low + other : nullptr);
            }
            transpose(rows);
            for (int64_t r = 0; r < TILE; ++r)
                store(reinterpret_cast<real*>(tiles + r * PAIR), rows[r]);
        }
    }
}

// Two units by two tiles of outputs, added over a chunk's places. A unit or tile given twice is
// computed twice.
void add_products(const MatrixSums& m, const Chunk& k, const half* first, const half* second,
                  const half* left, const half* right, float* const sums[4], bool begin) {
    if (begin) {
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
    } else {
        TILE_LOAD(0, sums[0], 64);
        TILE_LOAD(1, sums[1], 64);
        TILE_LOAD(2, sums[2], 64);
        TILE_LOAD(3, sums[3], 64);
    }
    const int64_t row = m.row * int64_t(sizeof(half)), step = m.window_channels * PAIR;
    for (int64_t i = 0; i < k.images; ++i)
        for (int64_t r = 0; r < k.rows; ++r) {
            int64_t at = (i * m.window_rows + r * m.stride_y) * m.window_columns * step;
            for (int64_t c = 0; c < m.out_columns; ++c, at += m.stride_x * step) {
                TILE_LOAD(4, first + at, row);
                TILE_LOAD(6, left, 64);
                TILE_ADD(0, 4, 6);
                TILE_LOAD(7, right, 64);
                TILE_ADD(1, 4, 7);
                TILE_LOAD(5, second + at, row);
                TILE_ADD(2, 5, 6);
                TILE_ADD(3, 5, 7);
                left += TILE * PAIR;
                right += TILE * PAIR;
            }
        }
    TILE_STORE(0, sums[0], 64);
    TILE_STORE(1, sums[1], 64);
    TILE_STORE(2, sums[2], 64);
    TILE_STORE(3, sums[3], 64);
}

template <class T>
void matrix_sums(const MatrixSums& m, const T* x, const real* g, float* sums, half* window,
                 half* tiles, real* grads, int threads) {
    const int64_t images = (m.image_blocks + 1) / 2, outs = (m.out_channels + TILE - 1) / TILE;
    const int64_t inputs = (m.channels + TILE - 1) / TILE, tile = m.rows * TILE;
    const Configuration configuration(m.rows);
    for (int64_t image = 0; image < images; image += m.chunk_images)
        for (int64_t row = 0; row < m.out_rows; row += m.chunk_rows) {
            const int64_t left = images - image, below = m.out_rows - row;
            const Chunk k{image, left < m.chunk_images ? left : m.chunk_images, row,
                          below < m.chunk_rows ? below : m.chunk_rows};
            const int64_t of_outs = k.images * k.rows * m.out_columns * TILE * PAIR;
            Pool::instance().run(inputs + outs, threads, [&](int64_t task) {
                if (task >= inputs)
                    return copy_gradient(m, g, k, (task - inputs) * TILE,
                                         tiles + (task - inputs) * of_outs);
                const int64_t to = (task + 1) * TILE;
                copy_input(m, x, k, task * TILE, to < m.channels ? to : m.channels, window);
            });
            Pool::instance().run((m.units_count + 1) / 2, threads, [&](int64_t task) {
                asm volatile("ldtilecfg %0" ::"m"(configuration));
                const int64_t u = 2 * task, v = u + 1 < m.units_count ? u + 1 : u;
                for (int64_t o = 0; o < outs; o += 2) {
                    const int64_t p = o + 1 < outs ? o + 1 : o;
                    float* const places[] = {sums + (u * outs + o) * tile, sums + (u * outs + p) * tile,
                                             sums + (v * outs + o) * tile, sums + (v * outs + p) * tile};
                    add_products(m, k, window + m.units[u], window + m.units[v], tiles + o * of_outs,
                                 tiles + p * of_outs, places, image == 0 && row == 0);
                }
                asm volatile("tilerelease" ::);
            });
        }
    const int64_t piece = 16384;
    Pool::instance().run((m.count + piece - 1) / piece, threads, [&](int64_t task) {
        const int64_t to = (task + 1) * piece < m.count ? (task + 1) * piece : m.count;
        for (int64_t i = task * piece; i < to; ++i) grads[i] = sums[m.where[i]];
    });
}

}  // namespace

extern "C" {

// Asks the system for the unit's registers, for the whole process; nothing where it has them.
int sparse_allow_matrix() {
    constexpr long REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return int(syscall(SYS_arch_prctl, REQUEST, TILE_DATA));
}

// sums, window, tiles: room for all sums and the largest chunk; halves: whether x is bf16.
void sparse_matrix_sums(const MatrixSums* call, const void* x, int halves, const real* y_grad,
                        float* sums, half* window, half* tiles, real* grads, int threads) {
    if (halves)
        matrix_sums(*call, static_cast<const half*>(x), y_grad, sums, window, tiles, grads, threads);
    else
        matrix_sums(*call, static_cast<const real*>(x), y_grad, sums, window, tiles, grads, threads);
}

}  // extern "C"

#else

extern "C" {

int sparse_allow_matrix() { return -1; }
void sparse_matrix_sums(const MatrixSums*, const void*, int, const real*, float*, half*, half*, real*,
                        int) {}  // never called

}  // extern "C"

#endif
