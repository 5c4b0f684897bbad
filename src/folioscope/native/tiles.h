/* What the kernels of vision.c, masks.c and bfloat16.c are made of: products in bfloat16 with AVX-512, exponentials, GELU. */
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FAST __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
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

/* c (rows, 16 * vectors) from a (rows, 2 * pairs) */
static void product(const bf16 *a, int64_t lda, const bf16 *b, int64_t columns, float *c, int64_t ldc, int64_t rows,
                    int64_t vectors, int64_t pairs, int add) {
    for (int64_t v = 0; v < vectors; v += WIDE) {
        const int64_t wide = vectors - v < WIDE ? vectors - v : WIDE;
        for (int64_t r = 0; r < rows; r += ROWS) {
            const int64_t high = rows - r < ROWS ? rows - r : ROWS;
            TILES[high - 1][wide - 1](a + r * lda, lda, b + v * LANES * 2, columns, c + r * ldc + v * LANES, ldc, pairs, add);
        }
    }
}

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static char *take(char **from, int64_t bytes) {
    char *taken = *from;
    *from += up(bytes, 64);
    return taken;
}
