/* For processors with AVX-512 and its instructions for bfloat16 and bytes: products of both, exponentials, GELU. */
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FAST __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) FAST
#define UNROLL _Pragma("GCC unroll 16")

typedef uint16_t bf16;
enum { LANES = 16, ROWS = 6, WIDE = 4 };

INLINE __m512 exp512(__m512 x) { /* x <= 0; relative error 2e-5, below what bfloat16 holds */
    x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
    __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    __m512 n = _mm512_roundscale_ps(t, 8);
    __m512 r = _mm512_sub_ps(t, n);
    __m512 p = _mm512_set1_ps(0.009618129f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.05550411f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022651f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69314718f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

INLINE __m512 power512(__m512 t, float by) { /* by * 2^t, t <= 0; relative error 7e-5 */
    const __m512 n = _mm512_roundscale_ps(t, 8), r = _mm512_sub_ps(t, n);
    __m512 p = _mm512_set1_ps(0.05517157f * by);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24261115f * by));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69326100f * by));
    return _mm512_scalef_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(0.99992807f * by)), n);
}

INLINE __m512 gelu512(__m512 x) { /* x / 2 (1 + erf(x / sqrt 2)); erf from a polynomial, 5e-5 off at most */
    static const float terms[] = {-3.161560347e-9f, 2.434215673e-7f, -8.201718629e-6f, 1.613346394e-4f,
                                  -2.096407814e-3f, 1.932974532e-2f, -1.323507577e-1f, 7.976950407e-1f};
    __m512 near = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f));
    __m512 square = _mm512_mul_ps(near, near), p = _mm512_set1_ps(terms[0]), half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
    UNROLL for (int i = 1; i < 8; i++) p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(terms[i]));
    return _mm512_fmadd_ps(half, _mm512_mul_ps(p, near), half);
}

INLINE __m512 load(const bf16 *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16));
}

INLINE void store(bf16 *to, __m512 x) { _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x)); }

INLINE __m512i pairs512(__m512 even, __m512 odd) { /* lane i: bfloat16 of even[i], then of odd[i] */
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
    return _mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd)), 16));
}

/* c (rows, 16 * vectors) of float, stride ldc, plus or set to a (rows, 2 * pairs) times b [pairs][columns][2] */
#define TILE(R, V)                                                                                                     \
    FAST static void tile_##R##_##V(const bf16 *a, int64_t lda, const bf16 *b, int64_t columns, float *c, int64_t ldc, \
                                    int64_t pairs, int add) {                                                          \
        __m512 sum[R][V];                                                                                              \
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] =                              \
            add ? _mm512_loadu_ps(c + r * ldc + LANES * v) : _mm512_setzero_ps();                                      \
        for (int64_t p = 0; p < pairs; p++) {                                                                          \
            __m512bh w[V];                                                                                             \
            UNROLL for (int v = 0; v < V; v++) w[v] = (__m512bh)_mm512_loadu_si512(b + (p * columns + LANES * v) * 2); \
            UNROLL for (int r = 0; r < R; r++) {                                                                       \
                __m512bh x = (__m512bh)_mm512_set1_epi32(*(const int *)(a + r * lda + 2 * p));                         \
                UNROLL for (int v = 0; v < V; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, w[v]);                   \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)                                          \
            _mm512_storeu_ps(c + r * ldc + LANES * v, sum[r][v]);                                                      \
    }
#define TILES_OF(R) TILE(R, 1) TILE(R, 2) TILE(R, 3) TILE(R, 4)
TILES_OF(1) TILES_OF(2) TILES_OF(3) TILES_OF(4) TILES_OF(5) TILES_OF(6)

typedef void (*tile)(const bf16 *, int64_t, const bf16 *, int64_t, float *, int64_t, int64_t, int);
#define ROW_OF(R) {tile_##R##_1, tile_##R##_2, tile_##R##_3, tile_##R##_4}
static const tile TILES[ROWS][WIDE] = {ROW_OF(1), ROW_OF(2), ROW_OF(3), ROW_OF(4), ROW_OF(5), ROW_OF(6)};

/* calls the tile for each group of rows and of vectors, from row r and vector v on */
#define OVER_TILES(TABLE, ...)                                                                                         \
    for (int64_t v = 0; v < vectors; v += WIDE)                                                                        \
        for (int64_t r = 0; r < rows; r += ROWS)                                                                       \
            TABLE[(rows - r < ROWS ? rows - r : ROWS) - 1][(vectors - v < WIDE ? vectors - v : WIDE) - 1](__VA_ARGS__);

/* c (rows, 16 * vectors) from a (rows, 2 * pairs) */
static void product(const bf16 *a, int64_t lda, const bf16 *b, int64_t columns, float *c, int64_t ldc, int64_t rows,
                    int64_t vectors, int64_t pairs, int add) {
    OVER_TILES(TILES, a + r * lda, lda, b + v * LANES * 2, columns, c + r * ldc + v * LANES, ldc, pairs, add)
}

/* c (rows, 16 * vectors), stride ldc, is `from` (16 * vectors) or 0, plus a (rows, 4 * fours) times b [fours][columns][4] */
#define TILE8(R, V)                                                                                                    \
    FAST static void bytes_##R##_##V(const uint8_t *a, int64_t lda, const char *b, int64_t columns, int32_t *c,        \
                                     int64_t ldc, int64_t fours, const int32_t *from) {                                \
        __m512i sum[R][V];                                                                                             \
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] =                              \
            from ? _mm512_loadu_si512(from + LANES * v) : _mm512_setzero_si512();                                      \
        for (int64_t p = 0; p < fours; p++) {                                                                          \
            __m512i w[V];                                                                                              \
            UNROLL for (int v = 0; v < V; v++) w[v] = _mm512_loadu_si512(b + (p * columns + LANES * v) * 4);           \
            UNROLL for (int r = 0; r < R; r++) {                                                                       \
                __m512i x = _mm512_set1_epi32(*(const int *)(a + r * lda + 4 * p));                                    \
                UNROLL for (int v = 0; v < V; v++) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], x, w[v]);                \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)                                          \
            _mm512_storeu_si512(c + r * ldc + LANES * v, sum[r][v]);                                                   \
    }
#define TILES8_OF(R) TILE8(R, 1) TILE8(R, 2) TILE8(R, 3) TILE8(R, 4)
TILES8_OF(1) TILES8_OF(2) TILES8_OF(3) TILES8_OF(4) TILES8_OF(5) TILES8_OF(6)

typedef void (*tile8)(const uint8_t *, int64_t, const char *, int64_t, int32_t *, int64_t, int64_t, const int32_t *);
#define ROW8_OF(R) {bytes_##R##_1, bytes_##R##_2, bytes_##R##_3, bytes_##R##_4}
static const tile8 TILES8[ROWS][WIDE] = {ROW8_OF(1), ROW8_OF(2), ROW8_OF(3), ROW8_OF(4), ROW8_OF(5), ROW8_OF(6)};

static void product8(const uint8_t *a, int64_t lda, const char *b, int64_t columns, int32_t *c, int64_t ldc, int64_t rows,
                     int64_t vectors, int64_t fours, const int32_t *from) {
    OVER_TILES(TILES8, a + r * lda, lda, b + v * LANES * 4, columns, c + r * ldc + v * LANES, ldc, fours,
               from ? from + v * LANES : NULL)
}

INLINE __m512 less(const bf16 *x, const float *mean, int64_t d) {
    return mean ? _mm512_sub_ps(load(x + d), _mm512_loadu_ps(mean + d)) : load(x + d);
}

/* x (dim) less `mean`, if any, as integers plus `zero`; returns the scale, and the sum of the integers */
FAST static float round_row(const bf16 *x, const float *mean, int64_t dim, int zero, uint8_t *to, int32_t *sum) {
    __m512 most = _mm512_setzero_ps();
    __m512i all = _mm512_setzero_si512();
    for (int64_t d = 0; d < dim; d += LANES) most = _mm512_max_ps(most, _mm512_abs_ps(less(x, mean, d)));
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 levels = _mm512_set1_ps(largest > 0 ? 127 / largest : 0);
    for (int64_t d = 0; d < dim; d += LANES) {
        __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(less(x, mean, d), levels));
        all = _mm512_add_epi32(all, n);
        _mm_storeu_si128((__m128i *)(to + d), _mm512_cvtepi32_epi8(_mm512_add_epi32(n, _mm512_set1_epi32(zero))));
    }
    *sum = _mm512_reduce_add_epi32(all);
    return largest / 127;
}

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static char *take(char **from, int64_t bytes) {
    char *taken = *from;
    *from += up(bytes, 64);
    return taken;
}
