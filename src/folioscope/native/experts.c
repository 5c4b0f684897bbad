/* A mixture of experts. */
#include "decoder.h"

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
        folio_now->tile(m, b + i, rows, some, gate[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t first = (b + i) * BLOCK, left = m->n - first < BLOCK ? m->n - first : BLOCK;
        if (next && i == count - 1) announce(x->m + 3 * next[0], next[1]);
        folio_now->tile(m + 1, b + i, rows, some, up);
        folio_now->gate(gate[i], up, some);
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
        folio_now->tile(m, b, rows, some, part);
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

API int folio_experts(const matrix *m, int64_t experts, int64_t shared, const float *x, int64_t rows, const int64_t *ids,
                      const float *weights, int64_t chosen, float *out, int threads) {
    if (folio_is_bfloat16(m, 3 * (experts + shared)))
        return folio_bf16_experts(m, experts, shared, x, rows, ids, weights, chosen, out, threads);
    pairs p = folio_sort_pairs(experts, shared, rows, ids, weights, chosen);
    if (!p.first) return -1;
    int64_t most = 0, pieces = 0, kind = m->kind;
    size_t floats = 0;
    for (int64_t e = 0; e < p.experts; e++)
        most += blocks_of(m[3 * e].n) / SPAN + 1, floats += (p.first[e + 1] - p.first[e]) * m[3 * e].n;
    int64_t *widths = malloc((p.count + 2 * most + 2) * sizeof(int64_t)), *piece = widths + p.count;
    float **inner = malloc(p.count * sizeof(float *) + floats * sizeof(float) + 64), *place = (float *)(inner + p.count);
    row *in = folio_new_rows(kind, m->k, NULL, rows), *mid = NULL;
    if (inner && in && widths) {
        for (int64_t e = 0; e < p.experts; e++) {
            for (int64_t at = p.first[e]; at < p.first[e + 1]; at++, place += widths[at - 1])
                inner[at] = place, widths[at] = m[3 * e].n;
            for (int64_t b = 0; p.first[e] < p.first[e + 1] && b < blocks_of(m[3 * e].n); b += SPAN, pieces++)
                piece[2 * pieces] = e, piece[2 * pieces + 1] = b;
        }
        if (pieces) memcpy(piece + 2 * pieces, piece + 2 * pieces - 2, 2 * sizeof(int64_t));
        mid = folio_new_rows(kind, 0, widths, p.count);
    }
    const int64_t blocks = blocks_of(m->k), strip = rows > MANY ? 2 : blocks / (4 * threads) + 1; /* sums of many fill the cache */
    mixture job = {m, rows, m->k, strip, p, inner, in, mid, (const int64_t(*)[2])piece, out};
    if (mid) {
        folio_prepare(&(quantising){x, m->k, kind, rows, NULL, NULL, in}, threads);
        folio_parallel(inner_chunk, &job, pieces, threads);
        quantising middle = {NULL, 0, kind, p.count, widths, (const float *const *)inner, mid};
        folio_prepare(&middle, threads);
        folio_parallel(outer_chunk, &job, (blocks + strip - 1) / strip, threads);
    }
    int failed = mid ? 0 : -1;
    free(mid), free(in), free(inner), free(widths), free(p.first);
    return failed;
}
