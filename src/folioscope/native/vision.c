/* CPU kernels of the image encoders, for processors with AVX-512 and its instructions for bytes and bfloat16: what stands
 * before and after a product of integers, row by row. map_attention.c has attention. `folioscope.vision` computes the same
 * in PyTorch where these are not.
 */
#include "kernels.h"

#if !defined(BF16_PRODUCTS)
API int folio_vision(void) { return 0; }
#else
#include "tiles.h"

API int folio_vision(void) { /* whether this processor runs what follows */
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}

/* ---------------------------------------------------------- rows before and after a product of integers */
enum { CHUNK = 32 };
typedef struct {
    const bf16 *x, *norm_weight, *norm_bias, *bias, *add; /* norms, biases and what is added may be NULL */
    uint8_t *integers;
    float *scale;
    bf16 *out;
    int64_t count, width;
    float eps;
    int act;
} rows_job;

FAST static void quantise_chunk(const void *given, long chunk) {
    const rows_job *j = given;
    float row[j->width];
    for (int64_t r = chunk * CHUNK; r < j->count && r < (chunk + 1) * CHUNK; r++) {
        const bf16 *x = j->x + r * j->width;
        __m512 sum = _mm512_setzero_ps(), squares = sum, most = sum;
        for (int64_t i = 0; i < j->width; i += LANES) sum = _mm512_add_ps(sum, load(x + i));
        __m512 mean = _mm512_set1_ps(j->norm_weight ? _mm512_reduce_add_ps(sum) / (float)j->width : 0.0f);
        for (int64_t i = 0; i < j->width; i += LANES) {
            __m512 d = _mm512_sub_ps(load(x + i), mean);
            squares = _mm512_fmadd_ps(d, d, squares);
        }
        float unit = 1 / sqrtf(_mm512_reduce_add_ps(squares) / (float)j->width + j->eps);
        for (int64_t i = 0; i < j->width; i += LANES) {
            __m512 v = load(x + i);
            if (j->norm_weight) {
                v = _mm512_mul_ps(_mm512_sub_ps(v, mean), _mm512_set1_ps(unit));
                v = _mm512_fmadd_ps(v, load(j->norm_weight + i), load(j->norm_bias + i));
            }
            _mm512_storeu_ps(row + i, v);
            most = _mm512_max_ps(most, _mm512_abs_ps(v));
        }
        float largest = _mm512_reduce_max_ps(most);
        j->scale[r] = largest / 127;
        __m512 levels = _mm512_set1_ps(largest > 0 ? 127 / largest : 0);
        for (int64_t i = 0; i < j->width; i += LANES) {
            __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(row + i), levels));
            _mm_storeu_si128((__m128i *)(j->integers + r * j->width + i),
                             _mm512_cvtepi32_epi8(_mm512_add_epi32(n, _mm512_set1_epi32(128))));
        }
    }
}

/* integers + 128 and scales of x, through a LayerNorm if it has a weight; width is a multiple of 16 */
API void folio_quantise_rows(const void *x, const void *norm_weight, const void *norm_bias, float eps, int64_t count,
                             int64_t width, void *integers, float *scale, int threads) {
    rows_job j = {.x = x, .norm_weight = norm_weight, .norm_bias = norm_bias, .integers = integers, .scale = scale,
                  .count = count, .width = width, .eps = eps};
    folio_parallel(quantise_chunk, &j, (count + CHUNK - 1) / CHUNK, threads);
}

INLINE __m512 activated(__m512 x, int act) { /* 1: GELU; 2: CLIP's quick GELU */
    if (act == 1) return gelu512(x);
    if (act == 2) {
        __m512 a = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(-1.702f)), e = exp512(a); /* sigmoid of |.| or -|.| */
        __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
        __m512 top = _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), negative, e);
        return _mm512_div_ps(_mm512_mul_ps(x, top), _mm512_add_ps(_mm512_set1_ps(1.0f), e));
    }
    return x;
}

FAST static void rescale_chunk(const void *given, long chunk) {
    const rows_job *j = given;
    for (int64_t r = chunk * CHUNK; r < j->count && r < (chunk + 1) * CHUNK; r++) {
        __m512 scale = _mm512_set1_ps(j->scale[r]);
        for (int64_t i = 0, at = r * j->width; i < j->width; i += LANES, at += LANES) {
            __m512 v = activated(_mm512_fmadd_ps(load(j->x + at), scale, load(j->bias + i)), j->act);
            store(j->out + at, j->add ? _mm512_add_ps(v, load(j->add + at)) : v);
        }
    }
}

/* out = act(x * scale + bias) + add, row by row; out may be x */
API void folio_rescale_rows(const void *x, float *scale, const void *bias, const void *add, int act, int64_t count,
                            int64_t width, void *out, int threads) {
    rows_job j = {.x = x, .scale = scale, .bias = bias, .add = add, .act = act, .count = count, .width = width, .out = out};
    folio_parallel(rescale_chunk, &j, (count + CHUNK - 1) / CHUNK, threads);
}
#endif
