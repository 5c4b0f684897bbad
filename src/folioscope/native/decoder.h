/* What the decoder's kernels have in common: products of a few or many rows with quantised weights, a mixture of experts in
 * one call, attention of one query over a cache, RMSNorm. torch_path.py beside this file computes the same in PyTorch.
 *
 * Layouts, all of whole cache lines read in sequence. Outputs come in blocks of 16, n and k padded to BLOCK and GROUP.
 *   INT8  uint8 [n/16][k/4][16][4], each the int8 weight + 128; scale float [n]
 *   INT4  uint8 [n/16][k/8][16][4], low nibbles 4 weights + 8, high nibbles the next 4; scale bfloat16 [n/16][k/32][16]
 *   BF16  bfloat16 [n][k], as checkpoints have it, unpadded
 */
#include "kernels.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* levels.c: the operations of the level in use, and whether bfloat16.c multiplies with all of these weights */
extern const operations *folio_now;
int folio_is_bfloat16(const matrix *m, int64_t count);

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

typedef struct { /* rows of activations, one after the other in `x` and k wide, or `widths[r]` wide at `at[r]` */
    const float *x;
    int64_t k, kind, count;
    const int64_t *widths;
    const float *const *at;
    row *rows;
} quantising;

/* products.c: out (rows, n of all) = x (rows, k) times `count` weights of one kind and one k, side by side */
API int folio_linear(const matrix *m, int64_t count, const float *x, int64_t rows, float *out, int threads);

/* experts.c: out (rows, k) = for each row of x (rows, k) the sum over its `chosen` experts of weight * down(silu(gate) * up),
 * plus that of the last expert, unweighted, if `shared`. m: gate, up, down of each of the experts, all of one kind. */
API int folio_experts(const matrix *m, int64_t experts, int64_t shared, const float *x, int64_t rows, const int64_t *ids,
                      const float *weights, int64_t chosen, float *out, int threads);

/* products.c: the memory of rows, `rows` first, then what they point to; and filling it */
row *folio_new_rows(int64_t kind, int64_t k, const int64_t *widths, int64_t count);
void folio_prepare(const quantising *rows, int threads);
