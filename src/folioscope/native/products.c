/* Products with weights side by side, the rows that they take, and packing of weights. */
#include "decoder.h"

static size_t bytes_of_row(int64_t kind, int64_t k) {
    int64_t wide = padded(k);
    return kind == BF16 ? 2 * wide : wide + 8 * (kind == INT4 ? wide / GROUP : 1);
}

static void prepare_chunk(const void *job, long chunk) {
    const quantising *q = job;
    for (int64_t r = chunk * ROWS; r < q->count && r < (chunk + 1) * ROWS; r++)
        folio_now->prepare(q->kind, q->at ? q->at[r] : q->x + r * q->k, q->widths ? q->widths[r] : q->k, q->rows + r);
}

void folio_prepare(const quantising *rows, int threads) {
    folio_parallel(prepare_chunk, rows, (rows->count + ROWS - 1) / ROWS, threads);
}

row *folio_new_rows(int64_t kind, int64_t k, const int64_t *widths, int64_t count) {
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
            folio_now->tile(m, block, p->x + r, some, out);
            for (int i = 0; i < some; i++)
                memcpy(p->out + (r + i) * p->wide + left + first, out[i], count * sizeof(float));
        }
    }
}

API int folio_linear(const matrix *m, int64_t count, const float *x, int64_t rows, float *out, int threads) {
    if (folio_is_bfloat16(m, count)) return folio_bf16_linear(m, count, x, rows, out, threads);
    row *prepared = folio_new_rows(m->kind, m->k, NULL, rows);
    if (!prepared) return -1;
    folio_prepare(&(quantising){x, m->k, m->kind, rows, NULL, NULL, prepared}, threads);
    product p = {m, rows, 0, 0, 0, prepared, out};
    for (int64_t i = 0; i < count; i++) p.wide += m[i].n, p.blocks += blocks_of(m[i].n);
    p.step = p.blocks / (8 * threads) + 1;
    p.step = p.step > 16 ? 16 : p.step;
    folio_parallel(product_chunk, &p, (p.blocks + p.step - 1) / p.step, threads);
    free(prepared);
    return 0;
}

typedef struct { const char *from; int64_t is_float, kind, n, k; char *to; void *scale; } packing;

static void pack_chunk(const void *job, long chunk) {
    const packing *p = job;
    folio_now->pack(p->from, p->is_float, p->kind, p->n, p->k, chunk, p->to, p->scale);
}

/* (n, k) bfloat16 or float to a quantised layout */
API int folio_pack(const void *from, int64_t is_float, int64_t kind, int64_t n, int64_t k, void *to, void *scale,
                   int threads) {
    folio_parallel(pack_chunk, &(packing){from, is_float, kind, n, k, to, scale}, blocks_of(n), threads);
    return 0;
}
