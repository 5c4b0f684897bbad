/* What a processor's vectors do, compiled for each LEVEL of processor with vectors of LANES floats: levels.c includes it. */
#define PASTE_(name, level) name##_##level
#define PASTE(name, level) PASTE_(name, level)
#define N(name) PASTE(name, LEVEL)
#define PARTS (BLOCK / LANES)
typedef int32_t N(vi) __attribute__((vector_size(4 * LANES)));
typedef uint32_t N(vu) __attribute__((vector_size(4 * LANES)));
typedef float N(vf) __attribute__((vector_size(4 * LANES)));
typedef uint16_t N(vh) __attribute__((vector_size(2 * LANES)));
typedef int8_t N(vb) __attribute__((vector_size(LANES)));

INLINE N(vu) N(load)(const void *from) { N(vu) x; memcpy(&x, from, sizeof x); return x; }
INLINE N(vf) N(loadf)(const float *from) { N(vf) x; memcpy(&x, from, sizeof x); return x; }
INLINE N(vf) N(splat)(float x) { return x - (N(vf)){0}; }
INLINE N(vf) N(widen)(const void *from) { /* LANES bfloat16 */
    N(vh) x;
    memcpy(&x, from, sizeof x);
    return (N(vf))(__builtin_convertvector(x, N(vu)) << 16);
}
INLINE float N(sum)(N(vf) x) {
    float lanes[LANES], total = 0;
    memcpy(lanes, &x, sizeof x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return total + lanes[0];
}

INLINE N(vf) N(larger)(N(vf) a, N(vf) b) {
    const N(vi) first = a > b;
    return (N(vf))((first & (N(vi))a) | (~first & (N(vi))b));
}
INLINE float N(most)(N(vf) x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

INLINE void N(sum4)(const N(vf) *x, float *out) { /* the sums of four vectors */
#if LANES == 16
    const __m512 *v = (const __m512 *)x;
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    __m512d low = _mm512_unpacklo_pd((__m512d)ab, (__m512d)cd), high = _mm512_unpackhi_pd((__m512d)ab, (__m512d)cd);
    __m512 all = _mm512_add_ps((__m512)low, (__m512)high); /* a b c d in each quarter */
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
#else
    for (int i = 0; i < 4; i++) out[i] = N(sum)(x[i]);
#endif
}

INLINE N(vf) N(element)(const char *from, const int is_float, int64_t at) {
    return is_float ? N(loadf)((const float *)from + at) : N(widen)((const uint16_t *)from + at);
}

#include "level_products.h"
#include "level_attention.h"
#include "level_packing.h"

static const operations N(operations) = {N(prepare), N(tile), N(gate), N(store), N(attend), N(norm), N(inner), N(pack)};
#undef PARTS
#undef BIAS
#undef N
#undef PASTE
#undef PASTE_
