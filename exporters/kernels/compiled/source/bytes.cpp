// What networks of bytes (INT8) need besides generated convolutions. A lane of 32 bits holds four
// channels, so whatever moves whole lanes (borders, gathering) is that of floats.
#include "folded.h"

#include "pool.h"
#include "vector.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && !defined(SPARSE_DOUBLE)

typedef uint8_t byte_vec __attribute__((vector_size(VECTOR_BYTES), may_alias));

static INLINE __m512i quantised(vec v, __m512 step, __m512i zero) {
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_div_ps((__m512)v, step));
    const __m512i moved = _mm512_add_epi32(_mm512_max_epi32(rounded, _mm512_set1_epi32(-256)), zero);
    return _mm512_min_epi32(_mm512_max_epi32(moved, _mm512_setzero_si512()),
                            _mm512_set1_epi32(255));
}

// The bytes of all channels in one lane each.
template <class Load>
static INLINE vec lanes_of(const Quantise& q, Load channel) {
    const __m512 step = _mm512_set1_ps(q.step), most = _mm512_set1_ps(q.step * 512);
    const __m512i zero = _mm512_set1_epi32(q.zero);
    __m512i found = _mm512_setzero_si512();
    for (int64_t c = 3; c >= 0; --c) {
        __m512i next = zero;
        // Conversion to int32 would turn what is too large for it into the least.
        if (c < q.channels)
            next = quantised((vec)_mm512_min_ps((__m512)channel(c), most), step, zero);
        found = _mm512_or_si512(_mm512_slli_epi32(found, 8), next);
    }
    return (vec)found;
}

static void quantise_rows(const Quantise& q, real* const* sources, real* to, int threads) {
    const Regroup& r = q.images;
    Pool::instance().run(r.blocks * r.plane / r.row, threads, [&](int64_t line) {
        const int64_t first = line * r.row;
        const int32_t* which = r.which + first / r.plane * VL;
        for (int64_t j = 0; j < r.row; j += VL) {
            // The last vectors of a row overlap those before.
            const int64_t place = first + (j + VL > r.row ? r.row - VL : j);
            vec v[VL];
            for (int l = 0; l < VL; ++l) {
                const real* source = sources[which[l]];
                const real* from = source + (source ? r.offsets[place * VL + l] : 0);
                v[l] = lanes_of(
                    q, [&](int64_t c) { return source ? load_any(from + c * r.from_channel) : vec{}; });
            }
            transpose(v);
            for (int i = 0; i < VL; ++i) store(to + r.places[place + i], v[i]);
        }
    });
}

static void quantise(const Quantise& q, real* const* sources, real* to, int threads) {
    const Regroup& r = q.images;
    if (r.row >= VL) return quantise_rows(q, sources, to, threads);
    Pool::instance().run(r.blocks * r.plane, threads, [&](int64_t place) {
        const int32_t* which = r.which + place / r.plane * VL;
        const int32_t* offset = r.offsets + place * VL;
        store(to + r.places[place], lanes_of(q, [&](int64_t c) {
                  vec v = {};
                  for (int l = 0; l < VL; ++l)
                      if (sources[which[l]])
                          v[l] = sources[which[l]][offset[l] + c * r.from_channel];
                  return v;
              }));
    });
}

// All fours of channels of one output after the other.
static void byte_max_pool(const FoldedPool& p, const real* from, real* to, int threads) {
    const int64_t plane = p.height * p.width;
    Pool::instance().run(p.blocks * plane, threads, [&](int64_t place) {
        const int64_t b = place / plane, i = place % plane / p.width, j = place % p.width;
        const int64_t y = i * p.stride - p.padding, x = j * p.stride - p.padding;
        const int64_t y0 = y < p.low_y ? p.low_y : y, x0 = x < p.low_x ? p.low_x : x;
        const int64_t y1 = y + p.kernel > p.high_y ? p.high_y : y + p.kernel;
        const int64_t x1 = x + p.kernel > p.high_x ? p.high_x : x + p.kernel;
        const real* in = from + b * p.from_block;
        real* out = to + b * p.to_block + i * p.to_row + j * p.to_column;
        for (int64_t c = 0; c < p.channels; ++c) {
            byte_vec best = {};
            for (int64_t h = y0; h < y1; ++h)
                for (int64_t w = x0; w < x1; ++w) {
                    const byte_vec next =
                        (byte_vec)load(in + h * p.from_row + w * p.from_column + c * VL);
                    best = next > best ? next : best;
                }
            store(out + c * VL, (vec)best);
        }
    });
}

#else

// Never called: only code generated for AVX-512 reads bytes.
static void quantise(const Quantise&, real* const*, real*, int) {}
static void byte_max_pool(const FoldedPool&, const real*, real*, int) {}

#endif

extern "C" {

void sparse_quantise(const Quantise* what, real* const* sources, real* to, int threads) {
    quantise(*what, sources, to, threads);
}

void sparse_byte_max_pool(const FoldedPool* what, const real* from, real* to, int threads) {
    byte_max_pool(*what, from, to, threads);
}

}  // extern "C"
