/* CPU kernels of the image encoders, for processors with AVX-512 and its bfloat16 instructions: attention over a map or
 * its windows with decomposed relative positions, and what stands before and after a product of integers, row by row.
 * `folioscope.vision` computes the same in PyTorch where these are not.
 */
#include "kernels.h"

#if !defined(__x86_64__) || !(__clang_major__ >= 9 || __GNUC__ >= 10)
API int folio_vision(void) { return 0; }
#else
#include "tiles.h"

API int folio_vision(void) { /* whether this processor runs what follows */
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bf16");
}

enum { QUERIES = 48, KEYS = 16 /* vectors of keys at a time */ };

typedef struct {
    const bf16 *qkv, *empty;     /* (B, H, W, 3, heads, dim); (3, heads, dim) of what stands beyond the map */
    const bf16 *by_row, *by_col; /* (2 window_h - 1, dim), (2 window_w - 1, dim), or NULL */
    bf16 *out;                   /* (B, H, W, heads, dim) */
    int64_t batch, height, width, heads, dim, win_h, win_w;
    int64_t down, across, parts; /* windows; chunks of a window's queries */
    atomic_int *failed;
} job;

/* rows (count, dim), stride ld, as [dim / 2][columns][2]; rows beyond are zero */
static void pack_rows(const bf16 *from, int64_t ld, int64_t count, int64_t dim, bf16 *to, int64_t columns) {
    for (int64_t p = 0; p < dim / 2; p++)
        for (int64_t i = 0; i < count; i++) memcpy(to + (p * columns + i) * 2, from + i * ld + 2 * p, 4);
}

typedef struct { /* one window of one head, and room to work */
    bf16 *keys, *values, *rows, *cols, *queries, *weights;
    float *scores, *by_row, *by_col, *sums, *most, *total;
} room;

FAST static void softmax_block(const job *j, const room *w, int64_t queries, const int64_t *places, int64_t first,
                               int64_t vectors, int64_t row_vectors, int64_t row_columns, int64_t col_columns) {
    const __m512 scale = _mm512_set1_ps(1 / sqrtf((float)j->dim)), low = _mm512_set1_ps(-FLT_MAX);
    const int64_t dim_vectors = j->dim / LANES;
    for (int64_t q = 0; q < queries; q++) {
        float *score = w->scores + q * KEYS * LANES;
        int64_t y = places[q] / j->win_w, x = places[q] % j->win_w;
        __m512 most = low;
        int64_t row = first / row_vectors, at = first % row_vectors;
        for (int64_t v = 0; v < vectors; v++) {
            __m512 s = _mm512_mul_ps(_mm512_loadu_ps(score + v * LANES), scale);
            if (j->by_row) {
                float of_row = w->by_row[q * row_columns + j->win_h - 1 - y + row];
                __m512 of_col = _mm512_loadu_ps(w->by_col + q * col_columns + j->win_w - 1 - x + at * LANES);
                s = _mm512_add_ps(s, _mm512_add_ps(of_col, _mm512_set1_ps(of_row)));
            }
            int64_t left = j->win_w - at * LANES;
            if (left < LANES) s = _mm512_mask_mov_ps(low, (__mmask16)((1u << left) - 1), s);
            _mm512_storeu_ps(score + v * LANES, s);
            most = _mm512_max_ps(most, s);
            if (++at == row_vectors) at = 0, row++;
        }
        float now = _mm512_reduce_max_ps(most), before = w->most[q];
        if (now > before) {
            float shrink = first ? expf(before - now) : 0.0f;
            w->most[q] = now;
            w->total[q] *= shrink;
            for (int64_t v = 0; v < dim_vectors; v++) {
                float *sum = w->sums + q * j->dim + v * LANES;
                _mm512_storeu_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(sum), _mm512_set1_ps(shrink)));
            }
        }
        const __m512 high = _mm512_set1_ps(w->most[q]);
        __m512 total = _mm512_setzero_ps();
        bf16 *weight = w->weights + q * KEYS * LANES;
        for (int64_t v = 0; v < vectors; v++) {
            __m512 e = exp512(_mm512_sub_ps(_mm512_loadu_ps(score + v * LANES), high));
            total = _mm512_add_ps(total, e);
            _mm256_storeu_si256((__m256i *)(weight + v * LANES), (__m256i)_mm512_cvtneps_pbh(e));
        }
        w->total[q] += _mm512_reduce_add_ps(total);
    }
}

FAST static void attend_part(const void *given, long chunk) {
    const job *j = given;
    const int64_t C = j->heads * j->dim, dim = j->dim;
    int64_t rest = chunk, part = rest % j->parts, head, across, down, image;
    rest /= j->parts, head = rest % j->heads, rest /= j->heads;
    across = rest % j->across, rest /= j->across, down = rest % j->down, image = rest / j->down;
    const int64_t row_vectors = up(j->win_w, LANES) / LANES, vectors = j->win_h * row_vectors, keys = vectors * LANES;
    const int64_t row_columns = up(2 * j->win_h - 1, LANES) , col_columns = up(2 * j->win_w - 1 + LANES, LANES);
    char *memory = aligned_alloc(64, up(keys * dim * 4 + (row_columns + col_columns) * dim * 2 + QUERIES * dim * 6 +
                                        QUERIES * KEYS * LANES * 6 + QUERIES * (row_columns + col_columns + 2) * 4 + 64 * 16, 64));
    if (!memory) {
        atomic_store(j->failed, 1);
        return;
    }
    char *free_at = memory;
    room w;
    w.keys = (bf16 *)take(&free_at, keys * dim * 2), w.values = (bf16 *)take(&free_at, keys * dim * 2);
    w.rows = (bf16 *)take(&free_at, row_columns * dim * 2), w.cols = (bf16 *)take(&free_at, col_columns * dim * 2);
    w.queries = (bf16 *)take(&free_at, QUERIES * dim * 2);
    w.weights = (bf16 *)take(&free_at, QUERIES * KEYS * LANES * 2);
    w.scores = (float *)take(&free_at, QUERIES * KEYS * LANES * 4);
    w.by_row = (float *)take(&free_at, QUERIES * row_columns * 4);
    w.by_col = (float *)take(&free_at, QUERIES * col_columns * 4);
    w.sums = (float *)take(&free_at, QUERIES * dim * 4);
    w.most = (float *)take(&free_at, QUERIES * 4), w.total = (float *)take(&free_at, QUERIES * 4);
    memset(memory, 0, (size_t)(free_at - memory));
    const int64_t top = down * j->win_h, left = across * j->win_w;
    for (int64_t y = 0; y < j->win_h; y++)
        for (int64_t x = 0; x < j->win_w; x++) {
            int inside = top + y < j->height && left + x < j->width;
            const bf16 *from = inside ? j->qkv + ((image * j->height + top + y) * j->width + left + x) * 3 * C : j->empty;
            const bf16 *k = from + C + head * dim, *v = k + C;
            int64_t at = y * row_vectors * LANES + x;
            for (int64_t p = 0; p < dim / 2; p++) memcpy(w.keys + (p * keys + at) * 2, k + 2 * p, 4);
            bf16 *to = w.values + at / 2 * dim * 2 + at % 2;
            for (int64_t d = 0; d < dim; d++) to[2 * d] = v[d];
        }
    if (j->by_row) {
        for (int64_t i = 0; i < 2 * j->win_h - 1; i++) /* read backwards, so that columns follow the keys */
            pack_rows(j->by_row + (2 * j->win_h - 2 - i) * dim, dim, 1, dim, w.rows + 2 * i, row_columns);
        for (int64_t i = 0; i < 2 * j->win_w - 1; i++)
            pack_rows(j->by_col + (2 * j->win_w - 2 - i) * dim, dim, 1, dim, w.cols + 2 * i, col_columns);
    }
    const int64_t high = top + j->win_h > j->height ? j->height - top : j->win_h;
    const int64_t wide = left + j->win_w > j->width ? j->width - left : j->win_w;
    const int64_t tiles = (high * wide + QUERIES - 1) / QUERIES;
    for (int64_t tile = part; tile < tiles; tile += j->parts) {
        int64_t first = tile * QUERIES, count = high * wide - first < QUERIES ? high * wide - first : QUERIES;
        int64_t places[QUERIES];
        for (int64_t q = 0; q < count; q++) {
            int64_t y = (first + q) / wide, x = (first + q) % wide;
            places[q] = y * j->win_w + x;
            memcpy(w.queries + q * dim, j->qkv + ((image * j->height + top + y) * j->width + left + x) * 3 * C + head * dim,
                   (size_t)dim * 2);
            w.most[q] = -FLT_MAX, w.total[q] = 0;
        }
        memset(w.sums, 0, (size_t)(QUERIES * dim) * 4);
        if (j->by_row) {
            product(w.queries, dim, w.rows, row_columns, w.by_row, row_columns, count, row_columns / LANES, dim / 2, 0);
            product(w.queries, dim, w.cols, col_columns, w.by_col, col_columns, count, col_columns / LANES, dim / 2, 0);
        }
        for (int64_t v = 0; v < vectors; v += KEYS) {
            int64_t now = vectors - v < KEYS ? vectors - v : KEYS;
            product(w.queries, dim, w.keys + v * LANES * 2, keys, w.scores, KEYS * LANES, count, now, dim / 2, 0);
            softmax_block(j, &w, count, places, v, now, row_vectors, row_columns, col_columns);
            product(w.weights, KEYS * LANES, w.values + v * LANES * dim, dim, w.sums, dim, count, dim / LANES,
                    now * LANES / 2, 1);
        }
        for (int64_t q = 0; q < count; q++) {
            int64_t y = places[q] / j->win_w, x = places[q] % j->win_w;
            bf16 *out = j->out + ((image * j->height + top + y) * j->width + left + x) * C + head * dim;
            __m512 by = _mm512_set1_ps(1 / w.total[q]);
            for (int64_t d = 0; d < dim; d += LANES)
                _mm256_storeu_si256((__m256i *)(out + d),
                                    (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_loadu_ps(w.sums + q * dim + d), by)));
        }
    }
    free(memory);
}

API int folio_map_attention(const void *qkv, const void *empty, const void *by_row, const void *by_col, void *out,
                            int64_t batch, int64_t height, int64_t width, int64_t heads, int64_t dim, int64_t win_h,
                            int64_t win_w, int threads) {
    atomic_int failed = 0;
    job j = {qkv, empty, by_row, by_col, out, batch, height, width, heads, dim, win_h, win_w, 0, 0, 0, &failed};
    j.down = (height + win_h - 1) / win_h, j.across = (width + win_w - 1) / win_w;
    j.parts = j.down * j.across > 1 ? 1 : 2;
    folio_parallel(attend_part, &j, batch * j.down * j.across * heads * j.parts, threads);
    return atomic_load(&failed);
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
