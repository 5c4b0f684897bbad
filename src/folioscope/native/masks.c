/* CPU kernels of SAM's mask decoder, for the same processors as vision.c: what it does to the image's positions, 64 of
 * them at a time with nothing in between leaving the cache. `folioscope.vision.masks` says what goes in; the plain
 * modules of `folioscope.model` compute the same.
 *
 * Attention is over products of tokens with weights, made beforehand (an object has few tokens): a key's product with the
 * image's query is that of W_q^T key with the position itself. A head's tokens follow one another: column h * tokens + t.
 * Maps are bfloat16 [positions / 64][width][64].
 */
#include "kernels.h"

#if defined(BF16_PRODUCTS)
#include "tiles.h"

enum { AT_ONCE = 64, VECTORS = AT_ONCE / LANES };
static const float LAZY = 4; /* how far a logit may exceed the maximum that exponentials are relative to */

typedef struct { /* native/masks.py has the same fields */
    const bf16 *image, *positions; /* one map for all objects, or one each; positions are added to what is multiplied */
    const bf16 *keys;              /* (objects, columns, width), or NULL: the image attends to nothing */
    const float *bias;             /* (objects, columns), added to those logits */
    const bf16 *update;            /* (objects, width, columns): what a column's token adds to a position */
    const float *added, *norm_weight, *norm_bias; /* (width), of the LayerNorm that follows */
    bf16 *out;                     /* (objects, a map), which may be the image */
    const bf16 *queries;           /* (objects, columns, width) */
    const bf16 *asking;            /* the shared map's queries [positions / 64][inner][64]: keys are (…, inner / heads) */
    const bf16 *asked, *told;      /* its keys and values, likewise: queries are (…, inner / heads) */
    float *most, *total, *mixed;   /* of each part of the positions: (objects, parts, columns), (…, width, columns up to 16s) */
    int64_t objects, own, width, blocks, tokens, heads, parts, inner;
    float eps;
    atomic_int failed;
} image_pass;

typedef struct { bf16 *packed, *weights, *turned; float *logits, *sums; } room;

/* pairs of channels of x, plus `add` */
FAST static void pack_block(const bf16 *x, const bf16 *add, int64_t width, bf16 *to) {
    for (int64_t at = 0; at < width * AT_ONCE; at += 2 * AT_ONCE)
        for (int64_t i = at; i < at + AT_ONCE; i += LANES) {
            __m512 even = load(x + i), odd = load(x + i + AT_ONCE);
            if (add) even = _mm512_add_ps(even, load(add + i)), odd = _mm512_add_ps(odd, load(add + i + AT_ONCE));
            _mm512_storeu_si512(to + at + 2 * (i - at), pairs512(even, odd));
        }
}

/* softmax over the tokens of each head, as pairs of columns */
FAST static void share_tokens(const image_pass *j, const float *bias, room *w) {
    const int64_t columns = j->heads * j->tokens;
    for (int64_t first = 0; first < columns; first += j->tokens)
        for (int64_t v = 0; v < AT_ONCE; v += LANES) {
            __m512 most = _mm512_set1_ps(-FLT_MAX), total = _mm512_setzero_ps();
            for (int64_t c = first; c < first + j->tokens; c++) {
                __m512 logit = _mm512_add_ps(_mm512_loadu_ps(w->logits + c * AT_ONCE + v), _mm512_set1_ps(bias[c]));
                _mm512_storeu_ps(w->logits + c * AT_ONCE + v, logit);
                most = _mm512_max_ps(most, logit);
            }
            for (int64_t c = first; c < first + j->tokens; c++) {
                __m512 e = exp512(_mm512_sub_ps(_mm512_loadu_ps(w->logits + c * AT_ONCE + v), most));
                _mm512_storeu_ps(w->logits + c * AT_ONCE + v, e);
                total = _mm512_add_ps(total, e);
            }
            const __m512 by = _mm512_div_ps(_mm512_set1_ps(1.0f), total);
            for (int64_t c = first; c < first + j->tokens; c++) {
                float *e = w->logits + c * AT_ONCE + v;
                _mm512_storeu_ps(e, _mm512_mul_ps(_mm512_loadu_ps(e), by));
            }
        }
    for (int64_t c = 0; c < columns; c += 2)
        for (int64_t v = 0; v < AT_ONCE; v += LANES)
            _mm512_storeu_si512(w->weights + c * AT_ONCE + 2 * v, pairs512(_mm512_loadu_ps(w->logits + c * AT_ONCE + v),
                                                                          _mm512_loadu_ps(w->logits + (c + 1) * AT_ONCE + v)));
}

/* 1 / the deviation from `mean` of 16 positions' channels; `part` is 1 / width */
INLINE __m512 sharpness(const float *sums, int64_t width, __m512 mean, __m512 part, float eps) {
    __m512 squares = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c++) {
        __m512 apart = _mm512_sub_ps(_mm512_loadu_ps(sums + c * AT_ONCE), mean);
        squares = _mm512_fmadd_ps(apart, apart, squares);
    }
    return _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(_mm512_fmadd_ps(squares, part, _mm512_set1_ps(eps))));
}

/* LayerNorm over the channels of x + sums + added */
FAST static void settle(const image_pass *j, const bf16 *x, float *sums, bf16 *out) {
    const __m512 part = _mm512_set1_ps(1.0f / (float)j->width);
    for (int64_t v = 0; v < AT_ONCE; v += LANES) {
        __m512 mean = _mm512_setzero_ps();
        for (int64_t c = 0; c < j->width; c++) {
            float *sum = sums + c * AT_ONCE + v;
            __m512 all = _mm512_add_ps(_mm512_add_ps(_mm512_loadu_ps(sum), load(x + c * AT_ONCE + v)), _mm512_set1_ps(j->added[c]));
            _mm512_storeu_ps(sum, all);
            mean = _mm512_add_ps(mean, all);
        }
        mean = _mm512_mul_ps(mean, part);
        const __m512 by = sharpness(sums + v, j->width, mean, part, j->eps);
        for (int64_t c = 0; c < j->width; c++) {
            __m512 apart = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(sums + c * AT_ONCE + v), mean), by);
            store(out + c * AT_ONCE + v, _mm512_fmadd_ps(apart, _mm512_set1_ps(j->norm_weight[c]), _mm512_set1_ps(j->norm_bias[c])));
        }
    }
}

/* exponentials of this block's logits, in pairs of positions; `mixed` and `total` made relative to the same maximum */
FAST static void share_positions(const image_pass *j, room *w, float *most, float *total, float *mixed) {
    const int64_t columns = j->heads * j->tokens, wide = up(columns, LANES);
    float shrink[wide + LANES];
    int changed = 0;
    for (int64_t c = 0; c < columns; c++) {
        const float *logit = w->logits + c * AT_ONCE;
        __m512 l[VECTORS], sum = _mm512_setzero_ps();
        UNROLL for (int v = 0; v < VECTORS; v++) l[v] = _mm512_loadu_ps(logit + v * LANES);
        const float now = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(l[0], l[1]), _mm512_max_ps(l[2], l[3])));
        shrink[c] = 1;
        if (now > most[c] + LAZY) {
            shrink[c] = total[c] > 0 ? expf(most[c] - now) : 1;
            most[c] = now, total[c] *= shrink[c], changed |= shrink[c] != 1;
        }
        UNROLL for (int v = 0; v < VECTORS; v++) {
            __m512 e = exp512(_mm512_sub_ps(l[v], _mm512_set1_ps(most[c])));
            sum = _mm512_add_ps(sum, e);
            _mm256_storeu_si256((__m256i *)(w->weights + c * AT_ONCE + v * LANES), (__m256i)_mm512_cvtneps_pbh(e));
        }
        total[c] += _mm512_reduce_add_ps(sum);
    }
    for (int64_t c = 0; c < columns; c++)
        for (int64_t p = 0; p < AT_ONCE / 2; p++)
            ((uint32_t *)w->turned)[p * wide + c] = ((const uint32_t *)w->weights)[c * (AT_ONCE / 2) + p];
    for (int64_t c = columns; c < wide + LANES; c++) shrink[c] = 1;
    const int64_t rows = j->told ? j->inner : j->width, across = j->told ? up(j->tokens, LANES) : wide;
    for (int64_t r = 0; changed && r < rows; r++)
        for (int64_t c = 0; c < across; c += LANES) {
            float *old = mixed + r * across + c, *by = shrink + c + (j->told ? r * j->heads / rows * j->tokens : 0);
            _mm512_storeu_ps(old, _mm512_mul_ps(_mm512_loadu_ps(old), _mm512_loadu_ps(by)));
        }
}

/* logits of an object's columns and the packed block; of a map's own queries or keys, each head with its own channels */
static void meet(const image_pass *j, const bf16 *columns, int apart, const room *w) {
    const int64_t heads = apart ? j->heads : 1, rows = j->heads * j->tokens / heads, k = apart ? j->inner / heads : j->width;
    for (int64_t h = 0; h < heads; h++)
        product(columns + h * rows * k, k, w->packed + h * k * AT_ONCE, AT_ONCE, w->logits + h * rows * AT_ONCE, AT_ONCE, rows,
                VECTORS, k / 2, 0);
}

/* add this block to the means */
static void mix(const image_pass *j, const bf16 *x, const room *w, float *mixed) {
    const int64_t heads = j->told ? j->heads : 1, rows = (j->told ? j->inner : j->width) / heads;
    const int64_t columns = j->heads * j->tokens, across = up(columns / heads, LANES);
    for (int64_t h = 0; h < heads; h++)
        product(x + h * rows * AT_ONCE, AT_ONCE, w->turned + h * j->tokens * 2, up(columns, LANES), mixed + h * rows * across,
                across, rows, across / LANES, AT_ONCE / 2, 1);
}

FAST static void pass_part(const void *given, long chunk) {
    image_pass *j = (image_pass *)given;
    const int64_t n = chunk / j->parts, part = chunk % j->parts, size = j->width * AT_ONCE;
    const int64_t columns = j->heads * j->tokens, wide = up(columns, LANES), taller = columns > j->width ? columns : j->width;
    char *memory = aligned_alloc(64, up(size * 2 + columns * AT_ONCE * 2 + wide * AT_ONCE * 2 + columns * AT_ONCE * 4 +
                                            taller * AT_ONCE * 4 + 64 * 8, 64)), *next = memory;
    if (!memory) {
        atomic_store(&j->failed, 1);
        return;
    }
    room w;
    w.packed = (bf16 *)take(&next, size * 2), w.weights = (bf16 *)take(&next, columns * AT_ONCE * 2);
    w.turned = (bf16 *)take(&next, wide * AT_ONCE * 2), w.logits = (float *)take(&next, columns * AT_ONCE * 4);
    w.sums = (float *)take(&next, taller * AT_ONCE * 4);
    memset(w.turned, 0, (size_t)(wide * AT_ONCE * 2));
    const int64_t means = j->told ? j->inner * up(j->tokens, LANES) : j->width * wide;
    float *most = j->most + chunk * columns, *total = j->total + chunk * columns, *mixed = j->mixed + chunk * means;
    for (int64_t c = 0; c < columns; c++) most[c] = -FLT_MAX, total[c] = 0;
    memset(mixed, 0, (size_t)means * 4);
    for (int64_t b = part * j->blocks / j->parts; b < (part + 1) * j->blocks / j->parts; b++) {
        const bf16 *x = j->image + ((j->own ? n * j->blocks : 0) + b) * size, *positions = j->positions + b * size;
        if (j->keys) {
            bf16 *out = j->out + (n * j->blocks + b) * size;
            if (j->asking) pack_block(j->asking + b * j->inner * AT_ONCE, NULL, j->inner, w.packed);
            else pack_block(x, positions, j->width, w.packed);
            meet(j, j->keys + n * columns * (j->asking ? j->inner / j->heads : j->width), j->asking != NULL, &w);
            share_tokens(j, j->bias + n * columns, &w);
            product(j->update + n * j->width * columns, columns, w.weights, AT_ONCE, w.sums, AT_ONCE, j->width, VECTORS,
                    columns / 2, 0);
            settle(j, x, w.sums, out);
            x = out;
        }
        if (j->asked) pack_block(j->asked + b * j->inner * AT_ONCE, NULL, j->inner, w.packed);
        else pack_block(x, positions, j->width, w.packed);
        meet(j, j->queries + n * columns * (j->asked ? j->inner / j->heads : j->width), j->asked != NULL, &w);
        share_positions(j, &w, most, total, mixed);
        mix(j, j->told ? j->told + b * j->inner * AT_ONCE : x, &w, mixed);
    }
    free(memory);
}

/* The image attends to the tokens, unless there are no keys; then the tokens to what the image has become. */
API int folio_image_pass(image_pass *given, int threads) {
    atomic_store(&given->failed, 0);
    folio_parallel(pass_part, given, given->objects * given->parts, threads);
    return atomic_load(&given->failed);
}

/* ------------------------------------------------------------------------------------------------------- upscaling */
typedef struct { /* native/masks.py has the same fields */
    const bf16 *image;                /* (objects, a map) */
    const bf16 *first, *second;       /* (4 middle, width), (4 narrow, middle): rows by place in the square of four */
    const float *first_bias, *second_bias, *norm_weight, *norm_bias; /* (middle), (narrow), (middle) twice */
    const bf16 *mixes;                /* (objects, outputs, narrow) */
    bf16 *out;                        /* (objects, outputs, 4 high, 4 across) */
    int64_t objects, width, middle, narrow, outputs, high, across;
    float eps;
    atomic_int failed;
} upscaling;

/* pairs of channels of GELU(x + bias) of `channels` rows of sums */
FAST static void activate(const float *sums, const float *bias, int64_t channels, bf16 *to) {
    for (int64_t c = 0; c < channels; c += 2, sums += 2 * AT_ONCE, to += 2 * AT_ONCE)
        UNROLL for (int64_t v = 0; v < AT_ONCE; v += LANES) {
            __m512 even = _mm512_add_ps(_mm512_loadu_ps(sums + v), _mm512_set1_ps(bias[c]));
            __m512 odd = _mm512_add_ps(_mm512_loadu_ps(sums + AT_ONCE + v), _mm512_set1_ps(bias[c + 1]));
            _mm512_storeu_si512(to + 2 * v, pairs512(gelu512(even), gelu512(odd)));
        }
}

/* LayerNorm over the channels of sums + bias, but for the norm's own bias */
FAST static void normalise(const upscaling *j, float *sums) {
    const __m512 part = _mm512_set1_ps(1.0f / (float)j->middle);
    for (int64_t v = 0; v < AT_ONCE; v += LANES) {
        __m512 mean = _mm512_setzero_ps();
        for (int64_t c = 0; c < j->middle; c++) {
            float *sum = sums + c * AT_ONCE + v;
            _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), _mm512_set1_ps(j->first_bias[c])));
            mean = _mm512_add_ps(mean, _mm512_loadu_ps(sum));
        }
        mean = _mm512_mul_ps(mean, part);
        const __m512 by = sharpness(sums + v, j->middle, mean, part, j->eps);
        for (int64_t c = 0; c < j->middle; c++) {
            float *sum = sums + c * AT_ONCE + v;
            __m512 apart = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(sum), mean), by);
            _mm512_storeu_ps(sum, _mm512_mul_ps(apart, _mm512_set1_ps(j->norm_weight[c])));
        }
    }
}

FAST static void upscale_block(const void *given, long chunk) {
    upscaling *j = (upscaling *)given;
    const int64_t blocks = j->high * j->across / AT_ONCE, n = chunk / blocks, first = chunk % blocks * AT_ONCE;
    const int64_t middle = j->middle, narrow = j->narrow, most = j->outputs * AT_ONCE;
    char *memory = aligned_alloc(64, up((2 * j->width + 8 * middle * 2 + 2 * middle + 4 * narrow * 4 + 2 * narrow) * AT_ONCE +
                                            most * 4 + 64 * 8, 64)), *next = memory;
    if (!memory) {
        atomic_store(&j->failed, 1);
        return;
    }
    bf16 *packed = (bf16 *)take(&next, 2 * j->width * AT_ONCE), *inner = (bf16 *)take(&next, 2 * middle * AT_ONCE);
    bf16 *last = (bf16 *)take(&next, 2 * narrow * AT_ONCE);
    float *wide = (float *)take(&next, 16 * middle * AT_ONCE), *sums = (float *)take(&next, 16 * narrow * AT_ONCE);
    float *logits = (float *)take(&next, 4 * most);
    pack_block(j->image + chunk * j->width * AT_ONCE, NULL, j->width, packed);
    product(j->first, j->width, packed, AT_ONCE, wide, AT_ONCE, 4 * middle, VECTORS, j->width / 2, 0);
    for (int64_t square = 0; square < 16; square++) { /* row and column of four, then of the four in there */
        if (square % 4 == 0) {
            float *quarter = wide + square / 4 * middle * AT_ONCE;
            normalise(j, quarter);
            activate(quarter, j->norm_bias, middle, inner);
            product(j->second, middle, inner, AT_ONCE, sums, AT_ONCE, 4 * narrow, VECTORS, middle / 2, 0);
        }
        activate(sums + square % 4 * narrow * AT_ONCE, j->second_bias, narrow, last);
        product(j->mixes + n * j->outputs * narrow, narrow, last, AT_ONCE, logits, AT_ONCE, j->outputs, VECTORS, narrow / 2, 0);
        const int64_t down = 2 * (square / 8) + square / 2 % 2, right = 2 * (square / 4 % 2) + square % 2;
        for (int64_t o = 0; o < j->outputs; o++)
            for (int64_t v = 0; v < AT_ONCE; v += LANES) {
                bf16 narrowed[LANES];
                store(narrowed, _mm512_loadu_ps(logits + o * AT_ONCE + v));
                for (int64_t i = 0, at = first + v; i < LANES; i++, at++)
                    j->out[((n * j->outputs + o) * 4 * j->high + 4 * (at / j->across) + down) * 4 * j->across +
                           4 * (at % j->across) + right] = narrowed[i];
            }
    }
    free(memory);
}

/* Transposed convolution, LayerNorm, GELU, another, GELU, and what `mixes` make of the channels. */
API int folio_upscale(upscaling *given, int threads) {
    atomic_store(&given->failed, 0);
    folio_parallel(upscale_block, given, given->objects * (given->high * given->across / AT_ONCE), threads);
    return atomic_load(&given->failed);
}
#endif
