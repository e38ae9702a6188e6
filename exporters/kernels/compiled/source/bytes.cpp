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

// Vector of a channel at a place, as floats.
static INLINE vec number(const Returned& r, const real* place, int64_t c) {
    if (!r.of_bytes) return load(place + c * VL);
    const __m512i four = (__m512i)load(place + c / 4 * VL);
    const __m512i byte = _mm512_and_si512(_mm512_srl_epi32(four, _mm_cvtsi64_si128(8 * (c % 4))),
                                          _mm512_set1_epi32(255));
    const __m512i steps = _mm512_sub_epi32(byte, _mm512_set1_epi32(r.zero));
    return (vec)_mm512_mul_ps(_mm512_cvtepi32_ps(steps), _mm512_set1_ps(r.step));
}

static void rows(const Returned& r, const real* from, real* const* to, int threads) {
    const int64_t pieces = VL / r.images, plane = r.plane_height * r.plane_width;
    const int64_t places = r.height * r.width;
    Pool::instance().run(r.blocks * r.channels, threads, [&](int64_t task) {
        const int64_t b = task / r.channels, c = task % r.channels;
        const real* block = from + b * r.block;
        real* const* images = to + b * r.images;
        int64_t i = 0;
        const auto at = [&](int64_t place) {
            return block + place / r.width * r.row + place % r.width * r.column;
        };
        if (pieces == 1)  // a lane is an image: VL places in turn become theirs at once
            for (; i + VL <= places; i += VL) {
                vec v[VL];
                for (int l = 0; l < VL; ++l) v[l] = number(r, at(i + l), c);
                transpose(v);
                for (int l = 0; l < VL; ++l)
                    if (images[l]) store_any(images[l] + r.first + c * plane + i, v[l]);
            }
        for (; i < places; ++i) {
            const vec v = number(r, at(i), c);
            for (int64_t l = 0; l < VL; ++l) {
                real* row = images[l / pieces];
                const int64_t y = l % pieces / r.across * r.height + i / r.width;
                const int64_t x = l % r.across * r.width + i % r.width;
                if (row && y < r.plane_height && x < r.plane_width)
                    row[r.first + c * plane + y * r.plane_width + x] = v[l];
            }
        }
    });
}

#else

// Never called: only code generated for AVX-512 reads bytes.
static void quantise(const Quantise&, real* const*, real*, int) {}
static void byte_max_pool(const FoldedPool&, const real*, real*, int) {}
static void rows(const Returned&, const real*, real* const*, int) {}

#endif

extern "C" {

void sparse_quantise(const Quantise* what, real* const* sources, real* to, int threads) {
    quantise(*what, sources, to, threads);
}

void sparse_byte_max_pool(const FoldedPool* what, const real* from, real* to, int threads) {
    byte_max_pool(*what, from, to, threads);
}

void sparse_rows(const Returned* what, const real* from, real* const* to, int threads) {
    rows(*what, from, to, threads);
}

}  // extern "C"
