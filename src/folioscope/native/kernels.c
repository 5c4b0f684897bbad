/* CPU kernels of the decoder: products of a few or many rows with quantised weights, a mixture of experts in one call,
 * attention of one query over a cache, RMSNorm. torch_path.py beside this file computes the same in PyTorch.
 *
 * Layouts, all of whole cache lines read in sequence. Outputs come in blocks of 16, n and k padded to BLOCK and GROUP.
 *   INT8  uint8 [n/16][k/4][16][4], each the int8 weight + 128; scale float [n]
 *   INT4  uint8 [n/16][k/8][16][4], low nibbles 4 weights + 8, high nibbles the next 4; scale bfloat16 [n/16][k/32][16]
 *   BF16  bfloat16 [n][k], as checkpoints have it, unpadded
 *
 * The file includes itself once for each level of processor (the part under #ifdef LEVEL); `level` picks at run time.
 */
#define PASTE_(name, level) name##_##level
#define PASTE(name, level) PASTE_(name, level)
#define N(name) PASTE(name, LEVEL)

#ifndef LEVEL
#include "kernels.h"
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() sched_yield()
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
enum { BLOCK = 16, GROUP = 32, ROWS = 8, KEYS = 64, PAGE = 4096 };

typedef struct { /* one row of activations, as the tiles read it: padded with zeros to a multiple of GROUP */
    const void *data;
    const float *scale; /* one for INT8, one for each group for INT4 */
    const int32_t *sum; /* of the integers that each scale belongs to */
} row;

typedef struct {
    void (*prepare)(int64_t kind, const float *x, int64_t k, row *to);
    void (*tile)(const matrix *m, int64_t block, const row *x, int rows, float (*out)[BLOCK]);
    void (*gate)(float (*gate)[BLOCK], float (*up)[BLOCK], int rows);
    void (*store)(const float *x, void *to, int is_float, int64_t count);
    void (*attend)(const float *q, const void *k, const void *v, int is_float, int64_t seen, int64_t dim, float *out);
    void (*norm)(const float *x, const void *weight, int is_float, float *out, int64_t n, float eps);
    float (*inner)(const float *x, const void *weight, int is_float, int64_t n);
    void (*pack)(const char *from, int is_float, int64_t kind, int64_t n, int64_t k, int64_t block, char *to, void *scale);
} operations;

INLINE int64_t padded(int64_t k) { return (k + GROUP - 1) / GROUP * GROUP; }
INLINE int64_t blocks_of(int64_t n) { return (n + BLOCK - 1) / BLOCK; }
INLINE uint16_t rounded(float x) { /* to bfloat16, to nearest even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float number(const void *from, int is_float, int64_t i) { /* element i of floats or bfloat16 */
    float x;
    uint32_t bits = is_float ? 0 : (uint32_t)((const uint16_t *)from)[i] << 16;
    memcpy(&x, is_float ? (const char *)from + 4 * i : (const char *)&bits, 4);
    return x;
}

/* ------------------------------------------------------------- threads: a pool of our own, see native/__init__.py */
static struct {
    pthread_mutex_t busy, sleep;
    pthread_cond_t wake;
    int workers, allowed;
    atomic_int sleepers;
    atomic_long left, done; /* chunks not yet taken, chunks finished */
    long chunks;
    void (*work)(const void *job, long chunk);
    const void *job;
} pool = {.busy = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int take_chunk(void) {
    long left = atomic_load(&pool.left);
    while (left > 0)
        if (atomic_compare_exchange_weak(&pool.left, &left, left - 1)) {
            /* the job cannot change before this chunk is done, so its fields are read only now */
            pool.work(pool.job, pool.chunks - left);
            atomic_fetch_add(&pool.done, 1);
            return 1;
        }
    return 0;
}

static void *worker(void *place) {
    for (int idle = 0;;) {
        if ((intptr_t)place < pool.allowed && take_chunk()) {
            idle = 0;
        } else if (++idle < 4000) {
            PAUSE();
        } else {
            pthread_mutex_lock(&pool.sleep);
            atomic_fetch_add(&pool.sleepers, 1);
            if (atomic_load(&pool.left) <= 0 || (intptr_t)place >= pool.allowed)
                pthread_cond_wait(&pool.wake, &pool.sleep);
            atomic_fetch_sub(&pool.sleepers, 1);
            pthread_mutex_unlock(&pool.sleep);
            idle = 0;
        }
    }
    return NULL;
}

static void forget_workers(void) { /* a forked child has none */
    pthread_mutex_init(&pool.busy, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.workers = pool.allowed = 0;
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.left, 0);
}

static void hire(int workers) {
    static int registered;
    if (!registered++) pthread_atfork(NULL, NULL, forget_workers);
    for (pthread_t thread; pool.workers < workers; pool.workers++) {
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)pool.workers)) return;
        pthread_detach(thread);
    }
}

static void parallel(void (*work)(const void *, long), const void *job, long chunks, int threads) {
    if (threads < 2 || chunks < 2 || pthread_mutex_trylock(&pool.busy)) {
        for (long chunk = 0; chunk < chunks; chunk++) work(job, chunk);
        return;
    }
    hire(threads - 1);
    pool.work = work, pool.job = job, pool.chunks = chunks, pool.allowed = threads - 1;
    atomic_store(&pool.done, 0);
    atomic_store(&pool.left, chunks);
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
    while (take_chunk()) {}
    for (int spins = 0; atomic_load(&pool.done) < chunks; spins++)
        if (spins < 4000) PAUSE(); else sched_yield();
    pthread_mutex_unlock(&pool.busy);
}

/* for the other files */
void folio_parallel(void (*work)(const void *, long), const void *job, long chunks, int threads) {
    parallel(work, job, chunks, threads);
}

/* ---------------------------------------------------------------------------------- one pass for each kind of processor */
#define LEVEL plain
#define LANES 4
#include "kernels.c"
#undef LEVEL
#undef LANES
#if defined(__clang__)
#define TARGET_ON(features) _Pragma(#features)
#endif
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LEVEL avx2
#define LANES 8
#include "kernels.c"
#undef LEVEL
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#define LEVEL avx512
#define LANES 16
#define VNNI
#include "kernels.c"
#undef LEVEL
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"))), apply_to = function)
#else
#pragma GCC target("avx512bf16")
#endif
#define LEVEL avx512bf16
#define BF16_DOT
#include "kernels.c"
#undef LEVEL
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#elif defined(__aarch64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#define LEVEL dotprod
#define LANES 4
#define NEON_DOT
#include "kernels.c"
#undef LEVEL
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

static const struct { const char *name; const operations *operations; } levels[] = {
    {"plain", &operations_plain},
#if defined(__x86_64__)
    {"avx2", &operations_avx2}, {"avx512", &operations_avx512}, {"avx512bf16", &operations_avx512bf16},
#elif defined(__aarch64__)
    {"dotprod", &operations_dotprod},
#endif
};
static const operations *now = &operations_plain;

API const char *folio_level(int index) { /* the name of a level that this processor has, or NULL above the best */
    int best = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = 1;
    if (best && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) best = 2;
    if (best == 2 && __builtin_cpu_supports("avx512bf16")) best = 3;
#elif defined(__aarch64__) && defined(__linux__)
    best = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
    best = 1;
#endif
    return index <= best ? levels[index].name : NULL;
}

API void folio_select(int index) { now = levels[index].operations; }

/* whether bfloat16.c multiplies with all of these */
static int is_bfloat16(const matrix *m, int64_t count) {
#if defined(BF16_PRODUCTS)
    int fits = now == &operations_avx512bf16;
    for (int64_t i = 0; fits && i < count; i++) fits = m[i].kind == BF16 && m[i].k % 8 == 0;
    return fits;
#else
    return 0;
#endif
}

/* ------------------------------------------------------------------------------------------------- rows of activations */
typedef struct { const float *x; int64_t k, kind, count; const int64_t *widths; const float *const *at; row *rows; } quantising;

static size_t bytes_of_row(int64_t kind, int64_t k) {
    int64_t wide = padded(k);
    return kind == BF16 ? 2 * wide : wide + 8 * (kind == INT4 ? wide / GROUP : 1);
}

static void prepare_chunk(const void *job, long chunk) {
    const quantising *q = job;
    for (int64_t r = chunk * ROWS; r < q->count && r < (chunk + 1) * ROWS; r++)
        now->prepare(q->kind, q->at ? q->at[r] : q->x + r * q->k, q->widths ? q->widths[r] : q->k, q->rows + r);
}

/* the memory of rows: `rows` first, then what they point to */
static row *new_rows(int64_t kind, int64_t k, const int64_t *widths, int64_t count) {
    size_t bytes = 0;
    for (int64_t r = 0; r < count; r++) bytes += bytes_of_row(kind, widths ? widths[r] : k);
    row *rows = malloc(count * sizeof(row) + bytes + 64);
    char *place = (char *)(rows + count);
    for (int64_t r = 0; rows && r < count; r++) {
        int64_t wide = padded(widths ? widths[r] : k), scales = kind == INT4 ? wide / GROUP : 1;
        rows[r].data = place;
        rows[r].scale = (float *)(place + wide);
        rows[r].sum = (int32_t *)(place + wide + 4 * scales);
        place += bytes_of_row(kind, widths ? widths[r] : k);
    }
    return rows;
}

/* ---------------------------------------------------------------------------------------------------- entry: products */
typedef struct { const matrix *m; int64_t rows, wide, step, blocks; const row *x; float *out; } product;

static void product_chunk(const void *job, long chunk) {
    const product *p = job;
    for (int64_t b = chunk * p->step; b < p->blocks && b < (chunk + 1) * p->step; b++) {
        const matrix *m = p->m;
        int64_t block = b, left = 0;
        for (; block >= blocks_of(m->n); m++) block -= blocks_of(m->n), left += m->n;
        int64_t first = block * BLOCK, count = m->n - first < BLOCK ? m->n - first : BLOCK;
        for (int64_t r = 0; r < p->rows; r += ROWS) {
            float out[ROWS][BLOCK];
            int some = p->rows - r < ROWS ? p->rows - r : ROWS;
            now->tile(m, block, p->x + r, some, out);
            for (int i = 0; i < some; i++)
                memcpy(p->out + (r + i) * p->wide + left + first, out[i], count * sizeof(float));
        }
    }
}

/* out (rows, n of all) = x (rows, k) times `count` weights of one kind and one k, side by side */
API int folio_linear(const matrix *m, int64_t count, const float *x, int64_t rows, float *out, int threads) {
    if (is_bfloat16(m, count)) return folio_bf16_linear(m, count, x, rows, out, threads);
    row *prepared = new_rows(m->kind, m->k, NULL, rows);
    if (!prepared) return -1;
    parallel(prepare_chunk, &(quantising){x, m->k, m->kind, rows, NULL, NULL, prepared}, blocks_of(2 * rows), threads);
    product p = {m, rows, 0, 0, 0, prepared, out};
    for (int64_t i = 0; i < count; i++) p.wide += m[i].n, p.blocks += blocks_of(m[i].n);
    p.step = p.blocks / (8 * threads) + 1;
    p.step = p.step > 16 ? 16 : p.step;
    parallel(product_chunk, &p, (p.blocks + p.step - 1) / p.step, threads);
    free(prepared);
    return 0;
}

/* ----------------------------------------------------------------------------------------------------- entry: experts */
enum { SPAN = 28, MANY = 64 }; /* blocks of outputs that are read in one run; rows */
typedef struct {
    const matrix *m; /* gate, up and down of each expert */
    int64_t rows, hidden, strip;
    pairs pairs;
    float **inner; /* (pairs) silu(gate) * up */
    const row *x, *mid;
    const int64_t (*pieces)[2]; /* expert and first block; after the last one the last again */
    float *out;
} mixture;

static void gather(const mixture *x, const row *from, int64_t pair, int some, int by_owner, row *to) {
    for (int i = 0; i < some; i++) to[i] = from[by_owner ? x->pairs.owner[pair + i] : pair + i];
}

/* Ask memory for the beginning of what is read after the next tile: tiles ask only for what follows in the same weight. */
static void announce(const matrix *m, int64_t block) {
    const char *from = (const char *)m->weight + block * BLOCK * padded(m->k) / (m->kind == INT4 ? 2 : 1);
    for (int64_t at = 0; at < PAGE && m->kind != BF16; at += 64) __builtin_prefetch(from + at);
    __builtin_prefetch(from + PAGE), __builtin_prefetch(from + 2 * PAGE);
}

/* Some rows of an expert and `count` blocks of outputs, at most SPAN: all gates first, so that weights are read in runs.
 * `next` is what comes then, or NULL where weights are in the cache. */
static void inner_rows(const mixture *x, int64_t e, int64_t b, int64_t count, int64_t pair, int some, const int64_t *next) {
    float gate[SPAN][ROWS][BLOCK], up[ROWS][BLOCK];
    row rows[ROWS];
    const matrix *m = x->m + 3 * e;
    gather(x, x->x, pair, some, 1, rows);
    for (int64_t i = 0; i < count; i++) {
        if (next && i == count - 1) announce(m + 1, b);
        now->tile(m, b + i, rows, some, gate[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t first = (b + i) * BLOCK, left = m->n - first < BLOCK ? m->n - first : BLOCK;
        if (next && i == count - 1) announce(x->m + 3 * next[0], next[1]);
        now->tile(m + 1, b + i, rows, some, up);
        now->gate(gate[i], up, some);
        for (int r = 0; r < some; r++) memcpy(x->inner[pair + r] + first, gate[i][r], left * sizeof(float));
    }
}

static int64_t rows_of(const mixture *x, int64_t e) { return x->pairs.first[e + 1] - x->pairs.first[e]; }

static void inner_chunk(const void *job, long chunk) {
    const mixture *x = job;
    const int64_t *piece = x->pieces[chunk], e = piece[0], rows = rows_of(x, e), pair = x->pairs.first[e];
    const int64_t left = blocks_of(x->m[3 * e].n) - piece[1], count = left < SPAN ? left : SPAN;
    if (rows <= ROWS) inner_rows(x, e, piece[1], count, pair, rows, x->pieces[chunk + 1]);
    for (int64_t b = 0; b < count && rows > ROWS; b++)
        for (int64_t r = 0; r < rows; r += ROWS)
            inner_rows(x, e, piece[1] + b, 1, pair + r, rows - r < ROWS ? rows - r : ROWS, NULL);
}

/* what an expert adds to a block of outputs */
static void outer_block(const mixture *x, int64_t e, int64_t b) {
    const matrix *m = x->m + 3 * e + 2;
    const int64_t first = b * BLOCK, count = x->hidden - first < BLOCK ? x->hidden - first : BLOCK, end = x->pairs.first[e + 1];
    for (int64_t pair = x->pairs.first[e]; pair < end; pair += ROWS) {
        float part[ROWS][BLOCK];
        row rows[ROWS];
        const int some = end - pair < ROWS ? end - pair : ROWS;
        gather(x, x->mid, pair, some, 0, rows);
        now->tile(m, b, rows, some, part);
        for (int i = 0; i < some; i++) {
            float *out = x->out + x->pairs.owner[pair + i] * x->hidden + first;
            for (int64_t c = 0; c < count; c++) out[c] += x->pairs.weight[pair + i] * part[i][c];
        }
    }
}

static void outer_chunk(const void *job, long chunk) {
    const mixture *x = job;
    const int64_t blocks = blocks_of(x->hidden), begin = chunk * x->strip, most = begin + x->strip;
    const int64_t end = most < blocks ? most : blocks, last = end * BLOCK < x->hidden ? end * BLOCK : x->hidden;
    for (int64_t r = 0; r < x->rows; r++)
        memset(x->out + r * x->hidden + begin * BLOCK, 0, (last - begin * BLOCK) * sizeof(float));
    for (int64_t e = 0, next; e < x->pairs.experts; e = next) {
        for (next = e + 1; next < x->pairs.experts && !rows_of(x, next); next++) {}
        for (int64_t b = begin; b < end && rows_of(x, e); b++) {
            if (b == end - 1 && rows_of(x, e) <= ROWS && next < x->pairs.experts) announce(x->m + 3 * next + 2, begin);
            outer_block(x, e, b);
        }
    }
}

pairs folio_sort_pairs(int64_t experts, int64_t shared, int64_t rows, const int64_t *ids, const float *weights,
                       int64_t chosen) {
    const int64_t all = experts + shared, routed = rows * chosen, count = routed + rows * shared;
    int64_t *first = calloc(all + 2 + 2 * count, sizeof(int64_t)), *fill = first + 1, *owner = fill + all + 1;
    pairs sorted = {all, count, first, owner, (float *)(owner + count)};
    if (!first) return sorted;
    for (int64_t p = 0; p < routed; p++) fill[ids[p] + 1]++; /* filled up, the place of an expert is the next one's first */
    for (int64_t e = 1; e < all; e++) fill[e] += fill[e - 1];
    for (int64_t p = 0; p < count; p++) {
        const int64_t e = p < routed ? ids[p] : experts, at = fill[e]++;
        owner[at] = p < routed ? p / chosen : p - routed;
        sorted.weight[at] = p < routed ? weights[p] : 1.0f;
    }
    return sorted;
}

/* out (rows, k) = for each row of x (rows, k) the sum over its `chosen` experts of weight * down(silu(gate) * up), plus
 * that of the last expert, unweighted, if `shared`. m: gate, up, down of each of the experts, all of one kind. */
API int folio_experts(const matrix *m, int64_t experts, int64_t shared, const float *x, int64_t rows, const int64_t *ids,
                      const float *weights, int64_t chosen, float *out, int threads) {
    if (is_bfloat16(m, 3 * (experts + shared)))
        return folio_bf16_experts(m, experts, shared, x, rows, ids, weights, chosen, out, threads);
    pairs p = folio_sort_pairs(experts, shared, rows, ids, weights, chosen);
    if (!p.first) return -1;
    int64_t most = 0, pieces = 0, kind = m->kind;
    size_t floats = 0;
    for (int64_t e = 0; e < p.experts; e++)
        most += blocks_of(m[3 * e].n) / SPAN + 1, floats += (p.first[e + 1] - p.first[e]) * m[3 * e].n;
    int64_t *widths = malloc((p.count + 2 * most + 2) * sizeof(int64_t)), *piece = widths + p.count;
    float **inner = malloc(p.count * sizeof(float *) + floats * sizeof(float) + 64), *place = (float *)(inner + p.count);
    row *in = new_rows(kind, m->k, NULL, rows), *mid = NULL;
    if (inner && in && widths) {
        for (int64_t e = 0; e < p.experts; e++) {
            for (int64_t at = p.first[e]; at < p.first[e + 1]; at++, place += widths[at - 1])
                inner[at] = place, widths[at] = m[3 * e].n;
            for (int64_t b = 0; p.first[e] < p.first[e + 1] && b < blocks_of(m[3 * e].n); b += SPAN, pieces++)
                piece[2 * pieces] = e, piece[2 * pieces + 1] = b;
        }
        if (pieces) memcpy(piece + 2 * pieces, piece + 2 * pieces - 2, 2 * sizeof(int64_t));
        mid = new_rows(kind, 0, widths, p.count);
    }
    const int64_t blocks = blocks_of(m->k), strip = rows > MANY ? 2 : blocks / (4 * threads) + 1; /* sums of many fill the cache */
    mixture job = {m, rows, m->k, strip, p, inner, in, mid, (const int64_t(*)[2])piece, out};
    if (mid) {
        parallel(prepare_chunk, &(quantising){x, m->k, kind, rows, NULL, NULL, in}, blocks_of(2 * rows), threads);
        parallel(inner_chunk, &job, pieces, threads);
        quantising middle = {NULL, 0, kind, p.count, widths, (const float *const *)inner, mid};
        parallel(prepare_chunk, &middle, blocks_of(2 * p.count), threads);
        parallel(outer_chunk, &job, (blocks + strip - 1) / strip, threads);
    }
    int failed = mid ? 0 : -1;
    free(mid), free(in), free(inner), free(widths), free(p.first);
    return failed;
}

/* --------------------------------------------------------------------------------------------------- entry: attention */
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
    now->store(k, keys + here * dim * size, a->is_float, dim);
    now->store(k + a->kv_heads * dim, values + here * dim * size, a->is_float, dim);
    for (int64_t h = head * group; h < (head + 1) * group; h++) {
        rotate(q + h * dim, cos, sin, dim, 1.0f / sqrtf(dim));
        now->attend(q + h * dim, keys, values, a->is_float, here + 1, dim, a->out + (b * a->heads + h) * dim);
    }
}

/* One query a row. qkv (batch, heads + 2 kv_heads, dim), unrotated, is overwritten; cos and sin (batch, dim). The key and
 * value are stored at positions (batch) of the caches (batch, kv_heads, capacity, dim; strides in elements), and the
 * query attends to 0..position. out (batch, heads, dim). dim: a multiple of 16. */
API int folio_attend(float *qkv, const float *cos, const float *sin, void *keys, void *values, int64_t batch_stride,
                     int64_t head_stride, int64_t is_float, const int64_t *positions, int64_t batch, int64_t heads,
                     int64_t kv_heads, int64_t dim, float *out, int threads) {
    attention a = {qkv, cos, sin, keys, values, batch_stride, head_stride, is_float, positions, heads, kv_heads, dim, out};
    parallel(attend_chunk, &a, batch * kv_heads, threads);
    return 0;
}

/* out (rows, n) = x / sqrt(mean(x^2) + eps) * weight */
API int folio_norm(const float *x, const void *weight, float *out, int64_t rows, int64_t n, int64_t is_float, float eps) {
    for (int64_t r = 0; r < rows; r++) now->norm(x + r * n, weight, is_float, out + r * n, n, eps);
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
        scores[e] = now->inner(x, (const char *)router + e * d->hidden * (d->is_float ? 4 : 2), d->is_float, d->hidden);
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

/* ------------------------------------------------------------------------------------------------------ entry: packing */
typedef struct { const char *from; int64_t is_float, kind, n, k; char *to; void *scale; } packing;

static void pack_chunk(const void *job, long chunk) {
    const packing *p = job;
    now->pack(p->from, p->is_float, p->kind, p->n, p->k, chunk, p->to, p->scale);
}

/* (n, k) bfloat16 or float to a quantised layout */
API int folio_pack(const void *from, int64_t is_float, int64_t kind, int64_t n, int64_t k, void *to, void *scale,
                   int threads) {
    parallel(pack_chunk, &(packing){from, is_float, kind, n, k, to, scale}, blocks_of(n), threads);
    return 0;
}

#else /* ------------------------------------------------------------------------------- LEVEL: compiled for each level */
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

/* acc[i] += w[4 i .. 4 i + 3] · x[0 .. 3], w unsigned and x signed bytes; BIAS is what is added to stored weights and not
 * taken off here. `nibble` says that w <= 15. */
INLINE N(vi) N(dot)(N(vi) acc, N(vu) w, const int8_t *x, const int nibble) {
    int32_t four;
    memcpy(&four, x, 4);
#if defined(VNNI)
    return (N(vi))_mm512_dpbusd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32(four));
#elif LANES == 8
    __m256i all = _mm256_set1_epi32(four), ones = _mm256_set1_epi16(1);
    if (nibble) return acc + (N(vi))_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)w, all), ones);
    /* two products of 255 * 127 overflow 16 bits, so the top bit of the weights goes apart */
    __m256i low = _mm256_maddubs_epi16((__m256i)(w & 0x7f7f7f7f), all);
    __m256i top = _mm256_maddubs_epi16((__m256i)(w & 0x80808080), all);
    return acc + (N(vi))_mm256_madd_epi16(low, ones) + (N(vi))_mm256_madd_epi16(top, ones);
#elif defined(NEON_DOT)
    int8x16_t signed_w = (int8x16_t)(nibble ? w : w ^ 0x80808080);
    return (N(vi))vdotq_s32((int32x4_t)acc, signed_w, (int8x16_t)vdupq_n_s32(four));
#else
    uint8_t bytes[4 * LANES];
    memcpy(bytes, &w, sizeof w);
    for (int i = 0; i < LANES; i++)
        acc[i] += bytes[4 * i] * x[0] + bytes[4 * i + 1] * x[1] + bytes[4 * i + 2] * x[2] + bytes[4 * i + 3] * x[3];
    return acc;
#endif
}
#if defined(NEON_DOT)
#define BIAS 0
#else
#define BIAS 128
#endif

/* Processors fetch what follows within a page by themselves. Where one begins, ask for one that comes later, since looking
 * up its address takes time. */
INLINE void N(page_ahead)(const char *line) {
    if (((uintptr_t)line & (PAGE - 64)) == 0) __builtin_prefetch(line + 3 * PAGE);
}

INLINE void N(int8_rows)(const matrix *m, int64_t block, const row *x, const int rows, float (*out)[BLOCK]) {
    const int64_t steps = padded(m->k) / 4;
    const char *w = (const char *)m->weight + block * steps * 64;
    const float *scale = (const float *)m->scale + block * BLOCK;
    enum { MOST = 32 };
    const int ways = rows * PARTS >= 4 ? 1 : rows * PARTS >= 2 ? 2 : 4; /* sums apart, or each waits for the one before */
    N(vi) acc[MOST] = {{0}};
    for (int64_t s = 0; s < steps; s += ways)
        UNROLL for (int way = 0; way < ways; way++) {
            const char *line = w + (s + way) * 64;
            N(page_ahead)(line);
            if (rows >= 8) __builtin_prefetch(line + 2 * PAGE, 0, 2); /* as long as that takes, each line is worth asking for */
            UNROLL for (int p = 0; p < PARTS; p++) {
                N(vu) part = N(load)(line + p * 4 * LANES);
                UNROLL for (int r = 0; r < rows; r++) {
                    N(vi) *a = acc + (way * rows + r) * PARTS + p;
                    *a = N(dot)(*a, part, (const int8_t *)x[r].data + (s + way) * 4, 0);
                }
            }
        }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int p = 0; p < PARTS; p++) {
            N(vi) total = acc[r * PARTS + p] - BIAS * *x[r].sum;
            for (int way = 1; way < ways; way++) total += acc[(way * rows + r) * PARTS + p];
            N(vf) result = __builtin_convertvector(total, N(vf)) * (N(loadf)(scale + p * LANES) * *x[r].scale);
            memcpy(out[r] + p * LANES, &result, sizeof result);
        }
}

INLINE void N(int4_rows)(const matrix *m, int64_t block, const row *x, const int rows, float (*out)[BLOCK]) {
    const int64_t groups = padded(m->k) / GROUP;
    const char *w = (const char *)m->weight + block * groups * 256;
    const uint16_t *scale = (const uint16_t *)m->scale + block * groups * BLOCK;
    N(vf) sums[16] = {{0}};
    for (int64_t g = 0; g < groups; g++, w += 256, scale += BLOCK) {
        N(vi) acc[16];
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int p = 0; p < PARTS; p++) acc[r * PARTS + p] = (N(vi)){0} - 8 * x[r].sum[g];
        UNROLL for (int line = 0; line < 4; line++) {
            N(page_ahead)(w + 64 * line), __builtin_prefetch(w + 64 * line + PAGE);
            UNROLL for (int p = 0; p < PARTS; p++) {
                N(vu) both = N(load)(w + 64 * line + p * 4 * LANES);
                N(vu) low = both & 0x0f0f0f0f, high = both >> 4 & 0x0f0f0f0f;
                UNROLL for (int r = 0; r < rows; r++) {
                    const int8_t *at = (const int8_t *)x[r].data + g * GROUP + 8 * line;
                    N(vi) *a = acc + r * PARTS + p;
                    *a = N(dot)(N(dot)(*a, low, at, 1), high, at + 4, 1);
                }
            }
        }
        UNROLL for (int p = 0; p < PARTS; p++) {
            N(vf) unit = N(widen)(scale + p * LANES);
            UNROLL for (int r = 0; r < rows; r++)
                sums[r * PARTS + p] += __builtin_convertvector(acc[r * PARTS + p], N(vf)) * (unit * x[r].scale[g]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) memcpy(out[r], sums + r * PARTS, BLOCK * sizeof(float));
}

INLINE N(vf) N(dot_bf16)(N(vf) acc, N(vu) w, N(vu) x) { /* pairs of bfloat16 */
#if defined(BF16_DOT)
    return (N(vf))_mm512_dpbf16_ps((__m512)acc, (__m512bh)w, (__m512bh)x);
#else
    acc += (N(vf))(w << 16) * (N(vf))(x << 16);
    return acc + (N(vf))(w & 0xffff0000) * (N(vf))(x & 0xffff0000);
#endif
}

INLINE N(vu) N(pairs)(const char *from, int64_t at, int64_t bytes) { /* what is left of them, then zeros */
    N(vu) some = {0};
    if (at + (int64_t)sizeof some <= bytes) return N(load)(from + at);
    memcpy(&some, from + at, bytes - at);
    return some;
}

INLINE void N(bf16_rows)(const matrix *m, int64_t block, const row *x, const int rows, float (*out)[BLOCK]) {
    enum { COLUMNS = 4, STEP = 4 * LANES };
    const int64_t bytes = 2 * m->k;
    for (int c = 0; c < BLOCK; c += COLUMNS) {
        const char *w[COLUMNS];
        N(vf) acc[24] = {{0}};
        for (int i = 0; i < COLUMNS; i++) { /* beyond the last output the last one again */
            int64_t n = block * BLOCK + c + i < m->n ? block * BLOCK + c + i : m->n - 1;
            w[i] = (const char *)m->weight + n * bytes;
        }
        if (rows == 1) { /* memory is what counts: one column after the other */
            for (int i = 0; i < COLUMNS; i++) {
                N(vf) even = {0}, odd = {0};
                int64_t at = 0;
                for (; at + 2 * STEP <= bytes; at += 2 * STEP) {
                    __builtin_prefetch(w[i] + at + 4096), __builtin_prefetch(w[i] + at + 4096 + STEP);
                    const char *input = (const char *)x->data + at;
                    even = N(dot_bf16)(even, N(load)(w[i] + at), N(load)(input));
                    odd = N(dot_bf16)(odd, N(load)(w[i] + at + STEP), N(load)(input + STEP));
                }
                for (; at < bytes; at += STEP)
                    even = N(dot_bf16)(even, N(pairs)(w[i], at, bytes), N(load)((const char *)x->data + at));
                acc[i] = even + odd;
            }
        } else {
            for (int64_t at = 0; at < bytes; at += STEP) {
                N(vu) some[COLUMNS];
                UNROLL for (int i = 0; i < COLUMNS; i++) {
                    __builtin_prefetch(w[i] + COLUMNS * bytes + at);
                    some[i] = N(pairs)(w[i], at, bytes);
                }
                UNROLL for (int r = 0; r < rows; r++) {
                    N(vu) input = N(load)((const char *)x[r].data + at);
                    UNROLL for (int i = 0; i < COLUMNS; i++)
                        acc[r * COLUMNS + i] = N(dot_bf16)(acc[r * COLUMNS + i], some[i], input);
                }
            }
        }
        UNROLL for (int r = 0; r < rows; r++) N(sum4)(acc + r * COLUMNS, out[r] + c);
    }
}

#define EACH(kind, count) case count: N(kind)(m, block, x, count, out); break;
#if LANES == 16
#define EIGHT(kind) EACH(kind, 8)
#else
#define EIGHT(kind)
#endif
static void N(tile)(const matrix *m, int64_t block, const row *x, int rows, float (*out)[BLOCK]) {
    const int most = LANES == 16 && m->kind != BF16 ? 8 : LANES == 4 ? 2 : 4; /* what the registers hold */
    for (int some; rows > 0; rows -= some, x += some, out += some) {
        some = rows < 4 ? rows : rows < 8 ? 4 : 8;
        some = some < most ? some : most;
        if (m->kind == INT8) switch (some) { EACH(int8_rows, 1) EACH(int8_rows, 2) EACH(int8_rows, 3) EACH(int8_rows, 4) EIGHT(int8_rows) }
        else if (m->kind == INT4) switch (some) { EACH(int4_rows, 1) EACH(int4_rows, 2) EACH(int4_rows, 3) EACH(int4_rows, 4) EIGHT(int4_rows) }
        else switch (some) { EACH(bf16_rows, 1) EACH(bf16_rows, 2) EACH(bf16_rows, 3) EACH(bf16_rows, 4) }
    }
}
#undef EACH
#undef EIGHT

static void N(prepare)(int64_t kind, const float *x, int64_t k, row *to) {
    const int64_t wide = padded(k), group = kind == INT4 ? GROUP : wide;
    if (kind == BF16) {
        uint16_t *data = (uint16_t *)to->data;
        for (int64_t i = 0; i < k; i++) data[i] = rounded(x[i]);
        memset(data + k, 0, 2 * (wide - k));
        return;
    }
    int8_t *data = (int8_t *)to->data;
    for (int64_t g = 0; g < wide / group; g++) {
        const int64_t start = g * group, end = start + group < k ? start + group : k;
        int64_t i = start;
        N(vf) largest = {0};
        for (; i + LANES <= end; i += LANES) largest = N(larger)(largest, (N(vf))((N(vu))N(loadf)(x + i) & 0x7fffffff));
        float most = N(most)(largest);
        for (; i < end; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        const float levels = most > 0 ? 127.0f / most : 0, magic = 12582912.0f; /* adding 1.5 * 2^23 rounds */
        N(vi) sums = {0};
        for (i = start; i + LANES <= end; i += LANES) {
            N(vi) whole = __builtin_convertvector((N(loadf)(x + i) * levels + magic) - magic, N(vi));
            N(vb) narrow = __builtin_convertvector(whole, N(vb));
            memcpy(data + i, &narrow, sizeof narrow);
            sums += whole;
        }
        int32_t sum = 0;
        for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
        for (; i < end; i++) sum += data[i] = (int8_t)(int32_t)rintf(x[i] * levels);
        memset(data + end, 0, start + group - end);
        ((float *)to->scale)[g] = most / 127.0f;
        ((int32_t *)to->sum)[g] = sum;
    }
}

INLINE float N(exponential)(float x) { /* e^x as Cephes has it; x is finite or -infinity */
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float magic = 12582912.0f, n = (x * 1.44269504f + magic) - magic; /* adding 1.5 * 2^23 rounds */
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f, p = p * r + 8.3334519073e-3f, p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f, p = p * r + 5.0000001201e-1f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return (p * r * r + r + 1.0f) * power;
}

static void N(gate)(float (*gate)[BLOCK], float (*up)[BLOCK], int rows) {
    for (int i = 0; i < rows * BLOCK; i++)
        gate[0][i] = gate[0][i] / (1.0f + N(exponential)(-gate[0][i])) * up[0][i];
}

static void N(store)(const float *x, void *to, int is_float, int64_t count) {
    if (is_float) memcpy(to, x, count * sizeof(float));
    else for (int64_t i = 0; i < count; i++) ((uint16_t *)to)[i] = rounded(x[i]);
}

INLINE N(vf) N(element)(const char *from, const int is_float, int64_t at) {
    return is_float ? N(loadf)((const float *)from + at) : N(widen)((const uint16_t *)from + at);
}

INLINE void N(coming)(const char *from, int64_t bytes) { /* asks memory for a row of the cache */
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at);
}

/* the products of q with `count` keys; asks memory for the values of the same positions */
INLINE void N(scores)(const float *q, const char *k, const char *v, const int is_float, int64_t count, int64_t dim, float *to) {
    const int64_t bytes = dim * (is_float ? 4 : 2);
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        N(vf) acc[4] = {{0}};
        N(coming)(v + j * bytes, 4 * bytes);
        for (int64_t d = 0; d < dim; d += LANES) {
            const N(vf) part = N(loadf)(q + d);
            UNROLL for (int i = 0; i < 4; i++) acc[i] += part * N(element)(k, is_float, (j + i) * dim + d);
        }
        N(sum4)(acc, to + j);
    }
    for (; j < count; j++) {
        N(vf) acc = {0};
        for (int64_t d = 0; d < dim; d += LANES) acc += N(loadf)(q + d) * N(element)(k, is_float, j * dim + d);
        to[j] = N(sum)(acc);
    }
}

/* some elements of out = out * shrink + weights · values; asks memory for the keys that come next */
INLINE void N(mix)(const float *weights, const char *v, const char *next, const int is_float, int64_t count, int64_t dim,
                   float shrink, const int vectors, float *out) {
    N(vf) acc[8];
    UNROLL for (int p = 0; p < vectors; p++) acc[p] = N(loadf)(out + p * LANES) * N(splat)(shrink);
    for (int64_t j = 0; j < count; j++) {
        const N(vf) weight = N(splat)(weights[j]);
        N(coming)(next + j * dim * (is_float ? 4 : 2), vectors * LANES * (is_float ? 4 : 2));
        UNROLL for (int p = 0; p < vectors; p++) acc[p] += weight * N(element)(v, is_float, j * dim + p * LANES);
    }
    UNROLL for (int p = 0; p < vectors; p++) memcpy(out + p * LANES, &acc[p], sizeof acc[p]);
}

/* softmax(q · keys) · values, 64 keys at a time with a running maximum; q is scaled already */
INLINE void N(attend_as)(const float *q, const char *k, const char *v, const int is_float, int64_t seen, int64_t dim,
                         float *out) {
    const int64_t size = is_float ? 4 : 2;
    float best = -INFINITY, total = 0;
    memset(out, 0, dim * sizeof(float));
    for (int64_t start = 0; start < seen; start += KEYS, k += KEYS * dim * size, v += KEYS * dim * size) {
        const int64_t count = seen - start < KEYS ? seen - start : KEYS;
        const char *next = seen - start > KEYS ? k + KEYS * dim * size : k;
        float scores[KEYS], most = best;
        N(scores)(q, k, v, is_float, count, dim, scores);
        for (int64_t j = count; j < KEYS; j++) scores[j] = -INFINITY;
        N(vf) largest = N(loadf)(scores);
        for (int64_t j = LANES; j < KEYS; j += LANES) largest = N(larger)(largest, N(loadf)(scores + j));
        most = N(most)(largest) > most ? N(most)(largest) : most;
        const float shrink = N(exponential)(best - most);
        for (int64_t j = 0; j < KEYS; j++) scores[j] = N(exponential)(scores[j] - most);
        total *= shrink, best = most;
        for (int64_t j = 0; j < count; j++) total += scores[j];
        int64_t d = 0;
        for (; d + 8 * LANES <= dim; d += 8 * LANES)
            N(mix)(scores, v + d * size, next + d * size, is_float, count, dim, shrink, 8, out + d);
        for (; d < dim; d += BLOCK) N(mix)(scores, v + d * size, next + d * size, is_float, count, dim, shrink, PARTS, out + d);
    }
    for (int64_t d = 0; d < dim; d++) out[d] /= total;
}

static void N(attend)(const float *q, const void *k, const void *v, int is_float, int64_t seen, int64_t dim, float *out) {
    if (is_float) N(attend_as)(q, k, v, 1, seen, dim, out);
    else N(attend_as)(q, k, v, 0, seen, dim, out);
}

static float N(inner)(const float *x, const void *weight, int is_float, int64_t n) {
    N(vf) acc[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL for (int p = 0; p < 4; p++) acc[p] += N(loadf)(x + i + p * LANES) * N(element)(weight, is_float, i + p * LANES);
    float total = N(sum)(acc[0] + acc[1] + acc[2] + acc[3]);
    for (; i < n; i++) total += x[i] * number(weight, is_float, i);
    return total;
}

static void N(norm)(const float *x, const void *weight, int is_float, float *out, int64_t n, float eps) {
    const int64_t whole = n / LANES * LANES;
    N(vf) acc = {0};
    for (int64_t i = 0; i < whole; i += LANES) acc += N(loadf)(x + i) * N(loadf)(x + i);
    float squares = N(sum)(acc);
    for (int64_t i = whole; i < n; i++) squares += x[i] * x[i];
    const float factor = 1.0f / sqrtf(squares / n + eps);
    for (int64_t i = 0; i < whole; i += LANES) {
        const N(vf) normal = N(loadf)(x + i) * factor * N(element)(weight, is_float, i);
        memcpy(out + i, &normal, sizeof normal);
    }
    for (int64_t i = whole; i < n; i++) out[i] = x[i] * factor * number(weight, is_float, i);
}

/* one group of at most GROUP weights to 4-bit integers + 8; of the scales that layout.py tries, the one with least error */
INLINE float N(pack_group)(const float *x, int64_t count, uint8_t *to) {
    float extreme = 0, best = 0, least = INFINITY;
    for (int64_t i = 0; i < count; i++) extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    static const float steps[] = {-8.0f, -8.6f, -7.4f, 7.0f};
    for (int s = 0; s < 4; s++) {
        const uint16_t narrow = rounded(extreme / steps[s]);
        const float scale = number(&narrow, 0, 0), divisor = scale == 0 ? 1 : scale;
        float error = 0;
        for (int64_t i = 0; i < count; i++) {
            float level = rintf(x[i] / divisor);
            level = (level < -8 ? -8 : level > 7 ? 7 : level) * scale;
            error += (x[i] - level) * (x[i] - level);
        }
        if (error < least) best = scale, least = error;
    }
    const float divisor = best == 0 ? 1 : best;
    for (int64_t i = 0; i < count; i++) {
        float level = rintf(x[i] / divisor);
        to[i] = (uint8_t)((level < -8 ? -8 : level > 7 ? 7 : level) + 8);
    }
    return best;
}

static void N(pack)(const char *from, int is_float, int64_t kind, int64_t n, int64_t k, int64_t block, char *to, void *scale) {
    const int64_t wide = padded(k);
    for (int64_t c = 0; c < BLOCK; c++) {
        const int64_t at = block * BLOCK + c;
        float x[GROUP], most = 0;
        for (int64_t i = 0; at < n && i < k; i++) {
            const float value = fabsf(number(from, is_float, at * k + i));
            most = value > most ? value : most;
        }
        const float step = most / 127.0f, divisor = step == 0 ? 1 : step;
        if (kind == INT8) ((float *)scale)[at] = step;
        for (int64_t start = 0; start < wide; start += GROUP) {
            uint8_t q[GROUP];
            for (int64_t i = 0; i < GROUP; i++) x[i] = at < n && start + i < k ? number(from, is_float, at * k + start + i) : 0;
            if (kind == INT8) {
                for (int i = 0; i < GROUP; i++) q[i] = (uint8_t)((int32_t)rintf(x[i] / divisor) + 128);
                for (int i = 0; i < GROUP; i += 4) memcpy(to + (block * wide + start + i) * BLOCK + 4 * c, q + i, 4);
            } else {
                uint16_t *scales = (uint16_t *)scale + (block * wide + start) / GROUP * BLOCK;
                scales[c] = rounded(N(pack_group)(x, GROUP, q));
                for (int i = 0; i < GROUP; i += 8)
                    for (int j = 0; j < 4; j++)
                        to[(block * wide + start + i) * BLOCK / 2 + 4 * c + j] = (char)(q[i + j] | q[i + 4 + j] << 4);
            }
        }
    }
}

static const operations N(operations) = {N(prepare), N(tile), N(gate), N(store), N(attend), N(norm), N(inner), N(pack)};
#undef PARTS
#undef BIAS
#endif
