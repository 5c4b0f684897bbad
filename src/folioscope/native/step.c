/* Attention of one new token a row, RMSNorm, and a step of the decoder through all its blocks. */
#include "decoder.h"

typedef struct {
    float *qkv;
    const float *cos, *sin;
    char *keys, *values;
    int64_t batch_stride, head_stride, is_float;
    const int64_t *positions;
    int64_t heads, kv_heads, dim;
    float *out;
} attention;

static void rotate(float *x, const float *cos, const float *sin, int64_t dim, float scale) {
    for (int64_t i = 0; i < dim / 2; i++) {
        float first = x[i], second = x[i + dim / 2];
        x[i] = (first * cos[i] - second * sin[i]) * scale;
        x[i + dim / 2] = (second * cos[i + dim / 2] + first * sin[i + dim / 2]) * scale;
    }
}

static void attend_chunk(const void *job, long chunk) { /* one key head of one row, and the query heads that use it */
    const attention *a = job;
    int64_t b = chunk / a->kv_heads, head = chunk % a->kv_heads, group = a->heads / a->kv_heads, dim = a->dim;
    int64_t size = a->is_float ? 4 : 2, here = a->positions[b];
    float *q = a->qkv + b * (a->heads + 2 * a->kv_heads) * dim, *k = q + (a->heads + head) * dim;
    const float *cos = a->cos + b * dim, *sin = a->sin + b * dim;
    char *keys = a->keys + (b * a->batch_stride + head * a->head_stride) * size;
    char *values = a->values + (b * a->batch_stride + head * a->head_stride) * size;
    rotate(k, cos, sin, dim, 1.0f);
    folio_now->store(k, keys + here * dim * size, a->is_float, dim);
    folio_now->store(k + a->kv_heads * dim, values + here * dim * size, a->is_float, dim);
    for (int64_t h = head * group; h < (head + 1) * group; h++) {
        rotate(q + h * dim, cos, sin, dim, 1.0f / sqrtf(dim));
        folio_now->attend(q + h * dim, keys, values, a->is_float, here + 1, dim, a->out + (b * a->heads + h) * dim);
    }
}

/* One query a row. qkv (batch, heads + 2 kv_heads, dim), unrotated, is overwritten; cos and sin (batch, dim). The key and
 * value are stored at positions (batch) of the caches (batch, kv_heads, capacity, dim; strides in elements), and the
 * query attends to 0..position. out (batch, heads, dim). dim: a multiple of 16. */
API int folio_attend(float *qkv, const float *cos, const float *sin, void *keys, void *values, int64_t batch_stride,
                     int64_t head_stride, int64_t is_float, const int64_t *positions, int64_t batch, int64_t heads,
                     int64_t kv_heads, int64_t dim, float *out, int threads) {
    attention a = {qkv, cos, sin, keys, values, batch_stride, head_stride, is_float, positions, heads, kv_heads, dim, out};
    folio_parallel(attend_chunk, &a, batch * kv_heads, threads);
    return 0;
}

/* out (rows, n) = x / sqrt(mean(x^2) + eps) * weight */
API int folio_norm(const float *x, const void *weight, float *out, int64_t rows, int64_t n, int64_t is_float, float eps) {
    for (int64_t r = 0; r < rows; r++) folio_now->norm(x + r * n, weight, is_float, out + r * n, n, eps);
    return 0;
}

/* --------------------------------------------------------------------------------------- entry: a step of the decoder */
typedef struct { /* native/step.py has the same fields */
    const void *before_attention, *before_network, *router; /* norms (hidden); (experts, hidden), NULL for a dense network */
    const matrix *qkv, *out, *network;                      /* network: gate, up and down of each expert, then of the shared */
} block;

typedef struct { /* native/step.py has the same fields */
    const block *blocks;
    int64_t layers, hidden, heads, kv_heads, dim, experts, chosen, renormalise, is_float; /* of norms and routers */
    float eps, scale;
} decoder;

/* the `chosen` experts of a row and their weights: greedy, of a softmax over all of them */
static void route(const decoder *d, const void *router, const float *x, int64_t *ids, float *weights) {
    float scores[d->experts], most = -INFINITY, total = 0, kept = 1e-20f;
    for (int64_t e = 0; e < d->experts; e++) {
        scores[e] = folio_now->inner(x, (const char *)router + e * d->hidden * (d->is_float ? 4 : 2), d->is_float, d->hidden);
        most = scores[e] > most ? scores[e] : most;
    }
    for (int64_t e = 0; e < d->experts; e++) total += scores[e] = expf(scores[e] - most);
    for (int64_t i = 0; i < d->chosen; i++) {
        ids[i] = 0;
        for (int64_t e = 1; e < d->experts; e++) ids[i] = scores[e] > scores[ids[i]] ? e : ids[i];
        kept += weights[i] = scores[ids[i]] / total, scores[ids[i]] = -1;
    }
    for (int64_t i = 0; i < d->chosen; i++) weights[i] = d->renormalise ? weights[i] / kept : weights[i] * d->scale;
}

/* x (rows, hidden), one new token a row, through all blocks; caches (layers, …), the rest as for `folio_attend` */
API int folio_step(const decoder *d, float *x, int64_t rows, const float *cos, const float *sin, char *keys, char *values,
                   int64_t layer_stride, int64_t batch_stride, int64_t head_stride, int64_t is_float,
                   const int64_t *positions, int threads) {
    const int64_t n = d->hidden, own = d->heads * d->dim, wide = own + 2 * d->kv_heads * d->dim, size = is_float ? 4 : 2;
    float *normal = malloc(rows * ((2 * n + own + wide + d->chosen) * sizeof(float) + d->chosen * sizeof(int64_t)) + 64);
    if (!normal) return -1;
    int64_t *ids = (int64_t *)normal;
    normal = (float *)(ids + rows * d->chosen);
    float *made = normal + rows * n, *mixed = made + rows * n, *qkv = mixed + rows * own, *weights = qkv + rows * wide;
    int failed = 0;
    for (const block *b = d->blocks; b < d->blocks + d->layers && !failed; b++) {
        const int64_t shift = (b - d->blocks) * layer_stride * size, experts = b->router ? d->experts : 0;
        folio_norm(x, b->before_attention, normal, rows, n, d->is_float, d->eps);
        failed |= folio_linear(b->qkv, 3, normal, rows, qkv, threads);
        folio_attend(qkv, cos, sin, keys + shift, values + shift, batch_stride, head_stride, is_float, positions, rows,
                     d->heads, d->kv_heads, d->dim, mixed, threads);
        failed |= folio_linear(b->out, 1, mixed, rows, made, threads);
        for (int64_t i = 0; i < rows * n; i++) x[i] += made[i];
        folio_norm(x, b->before_network, normal, rows, n, d->is_float, d->eps);
        for (int64_t r = 0; r < rows && experts; r++)
            route(d, b->router, normal + r * n, ids + r * d->chosen, weights + r * d->chosen);
        failed |= folio_experts(b->network, experts, 1, normal, rows, ids, weights, experts ? d->chosen : 0, made, threads);
        for (int64_t i = 0; i < rows * n; i++) x[i] += made[i];
    }
    free(ids);
    return failed;
}
