/* Products with bfloat16 weights as checkpoints have them, on processors with AVX-512 and its bfloat16 instructions: linear
 * layers and mixtures of experts, of one row as of a thousand. products.c and experts.c come here where that fits.
 *
 * A vector of weights has four pairs of inputs of four outputs, so that weights are read as they lie, 16 bytes of a row at a
 * time; two vectors are a block of outputs. Rows of activations lie in packs of up to twelve, [k / 8][rows][8]. What
 * products of a block make lies the same way, and so is the next product's input as it comes.
 */
#include "kernels.h"

#if !defined(BF16_PRODUCTS) /* never called */
int folio_bf16_linear(const matrix *m, int64_t count, const float *x, int64_t rows, float *out, int threads) { return -1; }
int folio_bf16_experts(const matrix *m, int64_t experts, int64_t shared, const float *x, int64_t rows, const int64_t *ids,
                       const float *weights, int64_t chosen, float *out, int threads) { return -1; }
#else
#include "tiles.h"

enum { OUTPUTS = 8, MOST = 12 /* rows of a pack */, STRIP = 32, WIDEST = 256 /* outputs of a chunk */ };
static const int64_t IN_CACHE = 400 << 10; /* bytes of activations that one block of weights goes through at a time */

typedef struct { /* rows that are multiplied together: of `first` and what follows, in the order of pairs */
    bf16 *x, *inner; /* [k / 8][rows][8]; what the gated products make of them, likewise */
    int64_t first, rows;
} pack;

/* ------------------------------------------------------------------------------------------ a block and a pack */
INLINE __m512bh four_rows(const char *a, const char *b, const char *c, const char *d) { /* 16 bytes of each */
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)a));
    x = _mm512_mask_broadcast_i32x4(x, 0x00f0, _mm_loadu_si128((const __m128i *)b));
    x = _mm512_mask_broadcast_i32x4(x, 0x0f00, _mm_loadu_si128((const __m128i *)c));
    return (__m512bh)_mm512_mask_broadcast_i32x4(x, 0xf000, _mm_loadu_si128((const __m128i *)d));
}

INLINE __m512 sums_of(__m512 (*a)[2]) { /* a block's sums of one row, then of the next */
    __m512 one = _mm512_add_ps(_mm512_unpacklo_ps(a[0][0], a[0][1]), _mm512_unpackhi_ps(a[0][0], a[0][1]));
    __m512 two = _mm512_add_ps(_mm512_unpacklo_ps(a[1][0], a[1][1]), _mm512_unpackhi_ps(a[1][0], a[1][1]));
    __m512d low = _mm512_unpacklo_pd((__m512d)one, (__m512d)two), high = _mm512_unpackhi_pd((__m512d)one, (__m512d)two);
    __m512d all = (__m512d)_mm512_add_ps((__m512)low, (__m512)high);
    return (__m512)_mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), all);
}

/* Where a block of weights comes from: rows of the file; the same, with its vectors kept; what was kept. Memory is what
 * the first pack of rows waits for, so it asks for the next block (`ahead`) as it goes. */
enum { READ, KEEP, KEPT };
#define BLOCK_OF(R, HOW)                                                                                               \
    FAST static void block_##R##_##HOW(const char *const *w, char *kept, const char *ahead, const bf16 *x,             \
                                       int64_t steps, float *out) {                                                    \
        __m512 sum[R + 1][2];                                                                                          \
        UNROLL for (int r = 0; r < R + 1; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();                            \
        for (int64_t i = 0; i < steps; i++, x += R * OUTPUTS) {                                                        \
            __m512bh a, b;                                                                                             \
            if (HOW == KEPT) {                                                                                         \
                a = (__m512bh)_mm512_load_si512(kept + 128 * i), b = (__m512bh)_mm512_load_si512(kept + 128 * i + 64); \
            } else {                                                                                                   \
                a = four_rows(w[0] + 16 * i, w[2] + 16 * i, w[4] + 16 * i, w[6] + 16 * i);                             \
                b = four_rows(w[1] + 16 * i, w[3] + 16 * i, w[5] + 16 * i, w[7] + 16 * i);                             \
                _mm_prefetch(ahead + 128 * i, _MM_HINT_T1), _mm_prefetch(ahead + 128 * i + 64, _MM_HINT_T1);           \
            }                                                                                                          \
            if (HOW == KEEP)                                                                                           \
                _mm512_store_si512(kept + 128 * i, (__m512i)a), _mm512_store_si512(kept + 128 * i + 64, (__m512i)b);   \
            UNROLL for (int r = 0; r < R; r++) {                                                                       \
                __m128i eight = _mm_loadu_si128((const __m128i *)(x + r * OUTPUTS));                                   \
                __m512bh row = (__m512bh)_mm512_broadcast_i32x4(eight);                                                \
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], row, a), sum[r][1] = _mm512_dpbf16_ps(sum[r][1], row, b);      \
            }                                                                                                          \
        }                                                                                                              \
        UNROLL for (int r = 0; r < R; r += 2) _mm512_storeu_ps(out + r * OUTPUTS, sums_of(sum + r));                   \
    }
#define BLOCKS_OF(R) BLOCK_OF(R, READ) BLOCK_OF(R, KEEP) BLOCK_OF(R, KEPT)
BLOCKS_OF(1) BLOCKS_OF(2) BLOCKS_OF(3) BLOCKS_OF(4) BLOCKS_OF(5) BLOCKS_OF(6)
BLOCKS_OF(7) BLOCKS_OF(8) BLOCKS_OF(9) BLOCKS_OF(10) BLOCKS_OF(11) BLOCKS_OF(12)

typedef void (*block_product)(const char *const *, char *, const char *, const bf16 *, int64_t, float *);
#define WAYS(R) {block_##R##_READ, block_##R##_KEEP, block_##R##_KEPT}
static const block_product PRODUCTS[MOST][3] = {WAYS(1), WAYS(2), WAYS(3), WAYS(4),  WAYS(5),  WAYS(6),
                                                WAYS(7), WAYS(8), WAYS(9), WAYS(10), WAYS(11), WAYS(12)};

/* -------------------------------------------------------------------------------------- a strip and many packs */
typedef struct {
    const matrix *m; /* one after the other, or gate, up and down of each expert */
    const pack *packs;
    const int64_t *first; /* (experts + 1) the first pack of each; of linear layers, which have one expert, 0 and the end */
    pairs pairs;          /* of linear layers nothing but how many */
    const float *x;
    float *out;
    int64_t rows, k, wide; /* of x, and of a row of out */
    int64_t strip;         /* outputs of a chunk */
    int of_inner;          /* whether what is multiplied is what gated products have made */
    atomic_int *failed;
} job;

/* what is done with the sums [rows][8] of a pack, outputs n and so on; of two weights if they are multiplied together */
typedef void (*purpose)(const job *j, const pack *p, int64_t n, int64_t count, float (*sums)[(MOST + 1) * OUTPUTS]);

FAST static void place(const job *j, const pack *p, int64_t n, int64_t count, float (*sums)[(MOST + 1) * OUTPUTS]) {
    for (int64_t r = 0; r < p->rows; r++) {
        __m256 sum = _mm256_loadu_ps(sums[0] + r * OUTPUTS);
        _mm256_mask_storeu_ps(j->out + (p->first + r) * j->wide + n, (__mmask8)((1 << count) - 1), sum);
    }
}

FAST static void gate(const job *j, const pack *p, int64_t n, int64_t count, float (*sums)[(MOST + 1) * OUTPUTS]) {
    for (int64_t r = 0; r < p->rows; r += 2) { /* silu(gate) * up */
        __m512 x = _mm512_loadu_ps(sums[0] + r * OUTPUTS), up = _mm512_loadu_ps(sums[1] + r * OUTPUTS);
        __m512 e = exp512(_mm512_sub_ps(_mm512_setzero_ps(), x));
        __m512 y = _mm512_mul_ps(_mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e)), up);
        __mmask16 both = r + 1 < p->rows ? 0xffff : 0x00ff;
        _mm256_mask_storeu_epi16(p->inner + n * p->rows + r * OUTPUTS, both, (__m256i)_mm512_cvtneps_pbh(y));
    }
}

FAST static void add_weighted(const job *j, const pack *p, int64_t n, int64_t count,
                              float (*sums)[(MOST + 1) * OUTPUTS]) {
    for (int64_t r = 0; r < p->rows; r++) {
        float *out = j->out + j->pairs.owner[p->first + r] * j->wide + n;
        __m256 weight = _mm256_set1_ps(j->pairs.weight[p->first + r]), sum = _mm256_loadu_ps(sums[0] + r * OUTPUTS);
        _mm256_storeu_ps(out, _mm256_add_ps(_mm256_loadu_ps(out), _mm256_mul_ps(weight, sum)));
    }
}

static int64_t strips_of(const job *j, int64_t n) { return (n + j->strip - 1) / j->strip; }

static int64_t gated_strips(const job *j, int64_t expert) { /* of an expert that nobody chose, none */
    return j->first[expert] < j->first[expert + 1] ? strips_of(j, j->m[3 * expert].n) : 0;
}

/* an expert's packs times a strip of outputs, from `from` on, of one weight, or of two; then comes what lies at `next` */
FAST static void multiply(const job *j, int64_t expert, const matrix *m, int together, int64_t from, purpose use,
                          const char *next) {
    const int64_t bytes = 2 * m->k, steps = m->k / OUTPUTS, at_once = IN_CACHE / (MOST * bytes) + 1;
    const int64_t end = from + j->strip < m->n ? from + j->strip : m->n;
    const pack *first = j->packs + j->first[expert], *last = j->packs + j->first[expert + 1];
    char *kept = last - first > 1 ? aligned_alloc(64, together * steps * 128) : NULL;
    if (last - first > 1 && !kept) {
        atomic_store(j->failed, 1);
        return;
    }
    for (const pack *some = first; some < last; some += at_once)
        for (int64_t n = from; n < end; n += OUTPUTS)
            for (const pack *p = some; p < last && p < some + at_once; p++) {
                float sums[2][(MOST + 1) * OUTPUTS];
                const int how = p > some ? KEPT : p + 1 < last && at_once > 1 ? KEEP : READ;
                for (int i = 0; i < together; i++) {
                    const char *rows[OUTPUTS], *w = m[i].weight;
                    for (int64_t r = 0; r < OUTPUTS; r++) rows[r] = w + (n + r < m->n ? n + r : m->n - 1) * bytes;
                    const char *ahead = n + OUTPUTS < end || !next ? rows[0] + OUTPUTS * bytes : next;
                    const bf16 *x = j->of_inner ? p->inner : p->x;
                    PRODUCTS[p->rows - 1][how](rows, kept ? kept + i * steps * 128 : NULL, ahead, x, steps, sums[i]);
                }
                use(j, p, n, end - n < OUTPUTS ? end - n : OUTPUTS, sums);
            }
    free(kept);
}

FAST static void fill_pack(const void *given, long chunk) {
    const job *j = given;
    const pack *p = j->packs + chunk;
    for (int64_t r = 0; r < p->rows; r++) {
        const float *from = j->x + (j->pairs.owner ? j->pairs.owner[p->first + r] : p->first + r) * j->k;
        for (int64_t i = 0; i < j->k; i += OUTPUTS) {
            __m128i eight = (__m128i)_mm256_cvtneps_pbh(_mm256_loadu_ps(from + i));
            _mm_storeu_si128((__m128i *)(p->x + i * p->rows + r * OUTPUTS), eight);
        }
    }
}

/* `count` rows from `first` on as packs of nearly one size; x and inner, of k and n numbers a row, are where there is room */
static int64_t divide(int64_t first, int64_t count, bf16 **x, int64_t k, bf16 **inner, int64_t n, pack *to) {
    const int64_t packs = (count + MOST - 1) / MOST;
    for (int64_t i = 0; i < packs; i++, first += to[i - 1].rows) {
        to[i] = (pack){*x, *inner, first, count / packs + (i < count % packs)};
        *x += to[i].rows * k, *inner += to[i].rows * n;
    }
    return packs;
}

/* --------------------------------------------------------------------------------------------- linear layers */
FAST static void linear_chunk(const void *given, long chunk) {
    job here = *(const job *)given;
    const matrix *m = here.m;
    for (; chunk >= strips_of(&here, m->n); m++) chunk -= strips_of(&here, m->n), here.out += m->n;
    multiply(&here, 0, m, 1, chunk * here.strip, place, NULL);
}

int folio_bf16_linear(const matrix *m, int64_t count, const float *x, int64_t rows, float *out, int threads) {
    pack *packs = malloc((rows / MOST + 1) * sizeof(pack) + rows * m->k * sizeof(bf16)), *end = packs + rows / MOST + 1;
    if (!packs) return -1;
    bf16 *room = (bf16 *)end, *none = NULL;
    const int64_t first[] = {0, divide(0, rows, &room, m->k, &none, 0, packs)};
    atomic_int failed = 0;
    job j = {m, packs, first, {0}, x, out, rows, m->k, 0, STRIP, 0, &failed};
    int64_t strips = 0;
    for (int64_t i = 0; i < count; i++) j.wide += m[i].n, strips += strips_of(&j, m[i].n);
    folio_parallel(fill_pack, &j, first[1], threads);
    folio_parallel(linear_chunk, &j, strips, threads);
    free(packs);
    return -atomic_load(&failed);
}

/* ------------------------------------------------------------------------------------------- mixtures of experts */
FAST static void gated_chunk(const void *given, long chunk) { /* a strip of an expert's gate and up */
    const job *j = given;
    int64_t e = 0;
    for (; chunk >= gated_strips(j, e); e++) chunk -= gated_strips(j, e);
    multiply(j, e, j->m + 3 * e, 2, chunk * j->strip, gate, NULL);
}

FAST static void down_chunk(const void *given, long chunk) { /* a strip of all experts' down */
    const job *j = given;
    const int64_t from = chunk * j->strip, left = j->wide - from, count = left < j->strip ? left : j->strip;
    for (int64_t r = 0; r < j->rows; r++) memset(j->out + r * j->wide + from, 0, count * sizeof(float));
    for (int64_t e = 0, after; e < j->pairs.experts; e = after) {
        for (after = e + 1; after < j->pairs.experts && j->first[after] == j->first[after + 1];) after++;
        const matrix *down = j->m + 3 * e + 2, *then = j->m + 3 * after + 2;
        const char *next = after < j->pairs.experts ? (const char *)then->weight + from * 2 * then->k : NULL;
        multiply(j, e, down, 1, from, add_weighted, next);
    }
}

int folio_bf16_experts(const matrix *m, int64_t experts, int64_t shared, const float *x, int64_t rows, const int64_t *ids,
                       const float *weights, int64_t chosen, float *out, int threads) {
    pairs sorted = folio_sort_pairs(experts, shared, rows, ids, weights, chosen);
    if (!sorted.first) return -1;
    const int64_t all = sorted.experts, most = sorted.count / MOST + all;
    int64_t numbers = 0, strips = 0;
    for (int64_t e = 0; e < all; e++) numbers += (sorted.first[e + 1] - sorted.first[e]) * m[3 * e].n;
    int64_t *first = malloc((all + 1) * sizeof(int64_t) + most * sizeof(pack));
    /* apart, since what is below 32 MB comes from memory that the process had before, and so without page faults */
    bf16 *packed = malloc(sorted.count * m->k * sizeof(bf16)), *gated = malloc(numbers * sizeof(bf16));
    atomic_int failed = !first || !packed || !gated;
    if (!failed) {
        pack *packs = (pack *)(first + all + 1);
        bf16 *x_at = packed, *gated_at = gated;
        job j = {m, packs, first, sorted, x, out, rows, m->k, m->k, STRIP, 0, &failed};
        first[0] = 0;
        for (int64_t e = 0; e < all; e++) {
            const int64_t from = sorted.first[e], count = sorted.first[e + 1] - from;
            first[e + 1] = first[e] + divide(from, count, &x_at, m->k, &gated_at, m[3 * e].n, packs + first[e]);
            strips += gated_strips(&j, e);
        }
        folio_parallel(fill_pack, &j, first[all], threads);
        folio_parallel(gated_chunk, &j, strips, threads);
        /* all activations go through each strip of `down`: the fewer the better, if there are enough for the threads */
        j.strip = up(j.wide / (4 * threads), STRIP), j.strip = j.strip < WIDEST ? j.strip : WIDEST;
        j.of_inner = 1;
        folio_parallel(down_chunk, &j, strips_of(&j, j.wide), threads);
    }
    free(first), free(packed), free(gated), free(sorted.first);
    return -atomic_load(&failed);
}
#endif
