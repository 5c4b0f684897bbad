/* Attention over a map, or over windows of it, with decomposed relative positions, on the processors of vision.c: a window
 * of a head at a time, some queries by some keys, so that logits stay in the cache. In bfloat16, or in integers:
 *
 * A query's logits may all be shifted alike, so keys go without their mean; queries and keys have a scale each, and queries
 * 128 added, since processors multiply bytes without a sign by bytes with one. Weights are 0 to 255 of the largest in their
 * block of keys. They sum up to 1 in the end, so values go without their mean, which is added last; a channel has one
 * scale. Relative positions are bfloat16 in either case.
 */
#include "kernels.h"

#if defined(BF16_PRODUCTS)
#include "tiles.h"

enum { QUERIES = 24, KEYS = 16 /* vectors of keys at a time */, WIDTH = KEYS * LANES };

typedef struct {
    const bf16 *qkv, *empty; /* (B, H, W, 3, heads, dim); (3, heads, dim) of what stands beyond the map */
    const bf16 *rows, *cols; /* tables of relative positions [dim / 2][columns][2], backwards, so that columns follow keys */
    bf16 *out;               /* (B, H, W, heads, dim) */
    int64_t batch, height, width, heads, dim, win_h, win_w;
    int64_t down, across, parts;       /* windows; chunks of a window's queries */
    int64_t row_columns, col_columns;  /* of the tables */
    int integers;
    atomic_int *failed;
} job;

typedef struct { /* one window of one head, and room to work; what is [..][2] here is [..][4] of bytes for integers */
    int64_t image, top, left;
    char *keys, *values;           /* blocks of [dim / 2][WIDTH][2]; [keys / 2][dim][2] */
    bf16 *queries;                 /* (QUERIES, dim) */
    uint8_t *bytes;                /* likewise, + 128 */
    char *weights;                 /* (QUERIES, WIDTH) */
    float *scores;                 /* (QUERIES, WIDTH), of integers at first */
    float *by_row, *by_col, *sums; /* (QUERIES, columns), (QUERIES, dim) */
    float *most, *total;           /* (QUERIES): the highest logit, sum of weights */
    float *highest, *shrink, *factor; /* (QUERIES), of a block: see `compare` */
    float *key_scale, *query_scale, *value_scale, *value_mean;
    int32_t *key_sum, *mixed;      /* -128 times the sum of a key; (QUERIES, dim) */
} room;

/* -------------------------------------------------------------------------------------------- keys, values, queries */
static const bf16 *key_at(const job *j, const room *w, int64_t y, int64_t x, int64_t head) { /* its value is C further on */
    const int64_t C = j->heads * j->dim;
    const int inside = w->top + y < j->height && w->left + x < j->width;
    const int64_t at = (w->image * j->height + w->top + y) * j->width + w->left + x;
    return (inside ? j->qkv + at * 3 * C : j->empty) + C + head * j->dim;
}

/* means of keys and values, and the scales of values */
FAST static void look_over(const job *j, const room *w, int64_t head, float *key_mean) {
    const int64_t C = j->heads * j->dim;
    const __m512 count = _mm512_set1_ps(1.0f / (float)(j->win_h * j->win_w));
    for (int64_t d = 0; d < j->dim; d += LANES) {
        __m512 keys = _mm512_setzero_ps(), values = keys, low = _mm512_set1_ps(FLT_MAX), high = _mm512_set1_ps(-FLT_MAX);
        for (int64_t y = 0; y < j->win_h; y++)
            for (int64_t x = 0; x < j->win_w; x++) {
                const bf16 *key = key_at(j, w, y, x, head) + d;
                __m512 v = load(key + C);
                keys = _mm512_add_ps(keys, load(key)), values = _mm512_add_ps(values, v);
                low = _mm512_min_ps(low, v), high = _mm512_max_ps(high, v);
            }
        __m512 mean = _mm512_mul_ps(values, count);
        __m512 most = _mm512_max_ps(_mm512_sub_ps(high, mean), _mm512_sub_ps(mean, low));
        _mm512_storeu_ps(key_mean + d, _mm512_mul_ps(keys, count));
        _mm512_storeu_ps(w->value_mean + d, mean);
        most = _mm512_max_ps(most, _mm512_set1_ps(FLT_MIN));
        _mm512_storeu_ps(w->value_scale + d, _mm512_mul_ps(most, _mm512_set1_ps(1 / 127.0f)));
    }
}

FAST static void pack_keys(const job *j, const room *w, int64_t head, int64_t row_vectors) {
    const int64_t C = j->heads * j->dim, dim = j->dim, each = j->integers ? 4 : 2;
    float key_mean[dim];
    if (j->integers) look_over(j, w, head, key_mean);
    for (int64_t y = 0; y < j->win_h; y++)
        for (int64_t x = 0; x < j->win_w; x++) {
            const bf16 *key = key_at(j, w, y, x, head);
            const int64_t at = y * row_vectors * LANES + x;
            uint8_t bytes[dim];
            int32_t sum;
            if (j->integers) {
                w->key_scale[at] = round_row(key, key_mean, dim, 0, bytes, &sum);
                w->key_sum[at] = -128 * sum;
            }
            const char *from = j->integers ? (const char *)bytes : (const char *)key;
            char *to = w->keys + (at / WIDTH * WIDTH * dim / each + at % WIDTH) * 4;
            for (int64_t p = 0; p < dim / each; p++) memcpy(to + p * WIDTH * 4, from + 4 * p, 4);
            for (int64_t d = 0; d < dim; d += LANES) { /* of what is together, one after the other */
                __m512i *place = (__m512i *)(w->values + (at / each * dim + d) * 4), value;
                if (j->integers) {
                    __m512 levels = _mm512_div_ps(less(key + C, w->value_mean, d), _mm512_loadu_ps(w->value_scale + d));
                    value = _mm512_and_si512(_mm512_cvtps_epi32(levels), _mm512_set1_epi32(255));
                } else value = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(key + C + d)));
                value = _mm512_sll_epi32(value, _mm_cvtsi64_si128(32 / each * (at % each)));
                _mm512_storeu_si512(place, _mm512_or_si512(_mm512_loadu_si512(place), value));
            }
        }
}

/* --------------------------------------------------------------------------------------------------------- softmax */
static const float LOG2E = 1.44269504f, HIDDEN = -1e30f;

/* added before weights are rounded, from another place on for each vector: many small weights keep their sum */
static const float DITHER[2 * LANES] = {
#define STEP_OF(i) ((7 * (i) % 16 + 0.5f) / 16 - 0.5f)
#define FOUR_OF(i) STEP_OF(i), STEP_OF(i + 1), STEP_OF(i + 2), STEP_OF(i + 3)
    FOUR_OF(0), FOUR_OF(4), FOUR_OF(8), FOUR_OF(12), FOUR_OF(16), FOUR_OF(20), FOUR_OF(24), FOUR_OF(28)};

/* logits of query q with `vectors` keys from the first of `block` on; the largest of them */
INLINE float logits_of(const job *j, const room *w, int64_t q, int64_t place, int64_t first, int64_t vectors,
                       int64_t row_vectors, const int integers) {
    const __m512 unit = _mm512_set1_ps((integers ? w->query_scale[q] : 1.0f) / sqrtf((float)j->dim));
    const int64_t y = place / j->win_w, x = place % j->win_w;
    const float *by_row = w->by_row + q * j->row_columns + j->win_h - 1 - y;
    const float *by_col = w->by_col + q * j->col_columns + j->win_w - 1 - x;
    float *score = w->scores + q * WIDTH;
    __m512 most = _mm512_set1_ps(HIDDEN), hidden = most;
    int64_t row = first / row_vectors, at = first % row_vectors;
    for (int64_t v = 0; v < vectors; v++) {
        __m512 s = unit, raw = _mm512_loadu_ps(score + v * LANES), bias = _mm512_setzero_ps();
        if (integers) {
            raw = _mm512_cvtepi32_ps((__m512i)raw);
            s = _mm512_mul_ps(unit, _mm512_loadu_ps(w->key_scale + (first + v) * LANES));
        }
        if (j->rows) bias = _mm512_add_ps(_mm512_loadu_ps(by_col + at * LANES), _mm512_set1_ps(by_row[row]));
        s = _mm512_fmadd_ps(raw, s, bias);
        const int64_t left = j->win_w - at * LANES;
        if (left < LANES) s = _mm512_mask_mov_ps(hidden, (__mmask16)((1u << left) - 1), s);
        _mm512_storeu_ps(score + v * LANES, s);
        most = _mm512_max_ps(most, s);
        if (++at == row_vectors) at = 0, row++;
    }
    return _mm512_reduce_max_ps(most);
}

/* of a block whose largest logits are known: by how much what was summed up so far shrinks, and what weights are of */
FAST static void compare(const room *w, int64_t queries, const int integers) {
    for (int64_t q = 0; q < queries; q += LANES) {
        __m512 before = _mm512_loadu_ps(w->most + q), here = _mm512_loadu_ps(w->highest + q);
        __m512 now = _mm512_max_ps(before, here), log2e = _mm512_set1_ps(LOG2E);
        __m512 shrink = power512(_mm512_mul_ps(_mm512_sub_ps(before, now), log2e), 1.0f);
        shrink = _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), _mm512_cmp_ps_mask(before, now, _CMP_LT_OQ), shrink);
        _mm512_storeu_ps(w->most + q, now), _mm512_storeu_ps(w->shrink + q, shrink);
        _mm512_storeu_ps(w->total + q, _mm512_mul_ps(_mm512_loadu_ps(w->total + q), shrink));
        if (integers) _mm512_storeu_ps(w->factor + q, power512(_mm512_mul_ps(_mm512_sub_ps(here, now), log2e), 1.0f));
        else _mm512_storeu_ps(w->highest + q, now);
    }
}

/* logits to weights of the highest; returns their sum */
INLINE float weigh(const float *score, int64_t vectors, float highest, char *weight, const int integers) {
    const __m512 high = _mm512_set1_ps(highest * LOG2E);
    __m512 total = _mm512_setzero_ps();
    __m512i whole = _mm512_setzero_si512();
    for (int64_t v = 0, i = 0; v < vectors; v++, i += LANES) {
        __m512 t = _mm512_fmsub_ps(_mm512_loadu_ps(score + i), _mm512_set1_ps(LOG2E), high);
        __m512 e = power512(t, integers ? 255.0f : 1.0f);
        if (integers) {
            __m512i n = _mm512_cvtps_epi32(_mm512_add_ps(e, _mm512_loadu_ps(DITHER + v % LANES)));
            whole = _mm512_add_epi32(whole, n);
            _mm_storeu_si128((__m128i *)(weight + i), _mm512_cvtepi32_epi8(n));
        } else {
            total = _mm512_add_ps(total, e);
            store((bf16 *)weight + i, e);
        }
    }
    return integers ? (float)_mm512_reduce_add_epi32(whole) : _mm512_reduce_add_ps(total);
}

/* ------------------------------------------------------------------------------------------------------- attention */
INLINE void attend_block(const job *j, const room *w, int64_t queries, const int64_t *places, int64_t first,
                         int64_t vectors, int64_t row_vectors, const int integers) {
    const int64_t dim = j->dim, each = integers ? 4 : 2, at = first * LANES;
    const char *keys = w->keys + at * dim / each * 4, *values = w->values + at * dim / each * 4;
    if (integers)
        product8(w->bytes, dim, keys, WIDTH, (int32_t *)w->scores, WIDTH, queries, vectors, dim / 4, w->key_sum + at);
    else product(w->queries, dim, (const bf16 *)keys, WIDTH, w->scores, WIDTH, queries, vectors, dim / 2, 0);
    for (int64_t q = 0; q < queries; q++)
        w->highest[q] = logits_of(j, w, q, places[q], first, vectors, row_vectors, integers);
    compare(w, queries, integers);
    for (int64_t q = 0; q < queries; q++) {
        char *weights = w->weights + q * WIDTH * (integers ? 1 : 2);
        w->total[q] += w->factor[q] * weigh(w->scores + q * WIDTH, vectors, w->highest[q], weights, integers);
    }
    if (integers)
        product8((uint8_t *)w->weights, WIDTH, values, dim, w->mixed, dim, queries, dim / LANES, vectors * LANES / 4, NULL);
    for (int64_t q = 0; q < queries; q++)
        for (int64_t i = q * dim; i < (q + 1) * dim; i += LANES) {
            __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(w->sums + i), _mm512_set1_ps(w->shrink[q]));
            __m512 part = _mm512_cvtepi32_ps(_mm512_loadu_si512(w->mixed + i));
            _mm512_storeu_ps(w->sums + i, integers ? _mm512_fmadd_ps(part, _mm512_set1_ps(w->factor[q]), sum) : sum);
        }
    if (!integers)
        product((bf16 *)w->weights, WIDTH, (const bf16 *)values, dim, w->sums, dim, queries, dim / LANES, vectors * LANES / 2, 1);
}

/* some queries of a window, from `first` of those within the map, whose window is `wide` there */
FAST static void attend_queries(const job *j, const room *w, int64_t head, int64_t first, int64_t count, int64_t wide,
                                int64_t row_vectors) {
    const int64_t C = j->heads * j->dim, dim = j->dim, vectors = j->win_h * row_vectors;
    int64_t places[QUERIES];
    for (int64_t q = 0; q < count; q++) {
        const int64_t y = (first + q) / wide, x = (first + q) % wide;
        int32_t sum;
        places[q] = y * j->win_w + x;
        memcpy(w->queries + q * dim, key_at(j, w, y, x, head) - C, (size_t)dim * 2);
        if (j->integers) w->query_scale[q] = round_row(w->queries + q * dim, NULL, dim, 128, w->bytes + q * dim, &sum);
        w->most[q] = HIDDEN, w->total[q] = 0, w->factor[q] = 1;
    }
    memset(w->sums, 0, (size_t)(count * dim) * 4);
    if (j->rows) {
        product(w->queries, dim, j->rows, j->row_columns, w->by_row, j->row_columns, count, j->row_columns / LANES, dim / 2, 0);
        product(w->queries, dim, j->cols, j->col_columns, w->by_col, j->col_columns, count, j->col_columns / LANES, dim / 2, 0);
    }
    for (int64_t v = 0; v < vectors; v += KEYS) {
        const int64_t now = vectors - v < KEYS ? vectors - v : KEYS;
        if (j->integers) attend_block(j, w, count, places, v, now, row_vectors, 1);
        else attend_block(j, w, count, places, v, now, row_vectors, 0);
    }
    for (int64_t q = 0; q < count; q++) {
        const int64_t y = w->top + places[q] / j->win_w, x = w->left + places[q] % j->win_w;
        bf16 *out = j->out + ((w->image * j->height + y) * j->width + x) * C + head * dim;
        const __m512 by = _mm512_set1_ps(1 / w->total[q]);
        for (int64_t d = 0; d < dim; d += LANES) {
            __m512 mean = _mm512_mul_ps(_mm512_loadu_ps(w->sums + q * dim + d), by);
            if (j->integers)
                mean = _mm512_fmadd_ps(mean, _mm512_loadu_ps(w->value_scale + d), _mm512_loadu_ps(w->value_mean + d));
            store(out + d, mean);
        }
    }
}

static char *room_for(const job *j, room *w, int64_t keys) { /* NULL if there is no memory */
    const int64_t dim = j->dim, each = j->integers ? 4 : 2, blocks = up(keys, WIDTH), columns = j->row_columns + j->col_columns;
    char *memory = aligned_alloc(64, (blocks + keys) * dim / each * 4 + keys * 8 + QUERIES * (dim * 11 + WIDTH * 6 + columns * 4 + 64) +
                                     dim * 8 + 64 * 20);
    if (!memory) return NULL;
    char *free_at = memory;
    w->keys = take(&free_at, blocks * dim / each * 4), w->values = take(&free_at, keys * dim / each * 4);
    memset(w->values, 0, keys * dim / each * 4);
    w->key_sum = (int32_t *)take(&free_at, keys * 4), w->key_scale = (float *)take(&free_at, keys * 4);
    w->queries = (bf16 *)take(&free_at, QUERIES * dim * 2), w->bytes = (uint8_t *)take(&free_at, QUERIES * dim);
    w->sums = (float *)take(&free_at, QUERIES * dim * 4), w->mixed = (int32_t *)take(&free_at, QUERIES * dim * 4);
    w->weights = take(&free_at, QUERIES * WIDTH * 2), w->scores = (float *)take(&free_at, QUERIES * WIDTH * 4);
    w->by_row = (float *)take(&free_at, QUERIES * j->row_columns * 4);
    w->by_col = (float *)take(&free_at, QUERIES * j->col_columns * 4);
    float **each_query[] = {&w->most, &w->total, &w->highest, &w->shrink, &w->factor, &w->query_scale};
    for (int i = 0; i < 6; i++) *each_query[i] = (float *)take(&free_at, up(QUERIES, LANES) * 4);
    w->value_scale = (float *)take(&free_at, dim * 4), w->value_mean = (float *)take(&free_at, dim * 4);
    return memory;
}

FAST static void attend_part(const void *given, long chunk) {
    const job *j = given;
    const int64_t part = chunk % j->parts, head = chunk / j->parts % j->heads, row_vectors = up(j->win_w, LANES) / LANES;
    int64_t window = chunk / j->parts / j->heads;
    room w = {.left = window % j->across * j->win_w};
    window /= j->across, w.top = window % j->down * j->win_h, w.image = window / j->down;
    char *memory = room_for(j, &w, j->win_h * row_vectors * LANES);
    if (!memory) {
        atomic_store(j->failed, 1);
        return;
    }
    pack_keys(j, &w, head, row_vectors);
    const int64_t high = w.top + j->win_h > j->height ? j->height - w.top : j->win_h;
    const int64_t wide = w.left + j->win_w > j->width ? j->width - w.left : j->win_w, all = high * wide;
    for (int64_t first = part * QUERIES; first < all; first += j->parts * QUERIES)
        attend_queries(j, &w, head, first, all - first < QUERIES ? all - first : QUERIES, wide, row_vectors);
    free(memory);
}

/* a table (2 n - 1, dim) backwards, as [dim / 2][columns][2]; what is beyond it is zero */
static void pack_table(const bf16 *table, int64_t count, int64_t dim, bf16 *to, int64_t columns) {
    memset(to, 0, (size_t)(columns * dim) * 2);
    for (int64_t i = 0; i < count; i++)
        for (int64_t p = 0; p < dim / 2; p++) memcpy(to + 2 * (p * columns + i), table + (count - 1 - i) * dim + 2 * p, 4);
}

/* qkv (batch, height, width, 3, heads, dim); empty (3, heads, dim), what stands beyond the map; tables of relative positions
 * (2 win_h - 1, dim), (2 win_w - 1, dim), or NULL; out (batch, height, width, heads, dim). dim: a multiple of 16 */
API int folio_map_attention(const void *qkv, const void *empty, const void *by_row, const void *by_col, void *out,
                            int64_t batch, int64_t height, int64_t width, int64_t heads, int64_t dim, int64_t win_h,
                            int64_t win_w, int integers, int threads) {
    const int64_t row_columns = up(2 * win_h - 1, LANES), col_columns = up(2 * win_w - 1 + LANES, LANES);
    bf16 *tables = malloc((row_columns + col_columns) * dim * sizeof(bf16)), *cols = tables + row_columns * dim;
    if (!tables) return 1;
    if (by_row) pack_table(by_row, 2 * win_h - 1, dim, tables, row_columns), pack_table(by_col, 2 * win_w - 1, dim, cols, col_columns);
    atomic_int failed = 0;
    job j = {.qkv = qkv, .empty = empty, .rows = by_row ? tables : NULL, .cols = cols, .out = out, .batch = batch,
             .height = height, .width = width, .heads = heads, .dim = dim, .win_h = win_h, .win_w = win_w,
             .down = (height + win_h - 1) / win_h, .across = (width + win_w - 1) / win_w, .row_columns = row_columns,
             .col_columns = col_columns, .integers = integers, .failed = &failed};
    const int64_t whole = batch * j.down * j.across * heads;
    j.parts = whole % threads && whole < 8 * threads ? 2 : 1; /* each part packs the keys again */
    folio_parallel(attend_part, &j, whole * j.parts, threads);
    free(tables);
    return atomic_load(&failed);
}
#endif
