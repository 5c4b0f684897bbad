/* What the C files have in common. */
#include <stdint.h>

#define API __attribute__((visibility("default")))

enum { INT8, INT4, BF16 };

typedef struct { /* one weight; native/__init__.py has the same fields */
    const void *weight, *scale;
    int64_t kind, n, k;
} matrix;

typedef struct { /* the (row, expert) pairs sorted by expert; the shared network is one more expert, of every row */
    int64_t experts, count;
    int64_t *first; /* (experts + 1) the first pair of each */
    int64_t *owner; /* the row of each pair */
    float *weight;  /* the router's, of each pair */
} pairs;

/* work(job, chunk) for every chunk; alone if there is one thread, or if another caller has the pool */
void folio_parallel(void (*work)(const void *job, long chunk), const void *job, long chunks, int threads);

/* the arguments are those of `folio_experts`; `first` is NULL if there is no memory, and else to be freed */
pairs folio_sort_pairs(int64_t experts, int64_t shared, int64_t rows, const int64_t *ids, const float *weights,
                       int64_t chosen);

#if defined(__x86_64__) && (__clang_major__ >= 9 || __GNUC__ >= 10)
#define BF16_PRODUCTS
#endif
/* bfloat16.c: as the functions without bf16, of bfloat16 weights only, k a multiple of 8 */
int folio_bf16_linear(const matrix *m, int64_t count, const float *x, int64_t rows, float *out, int threads);
int folio_bf16_experts(const matrix *m, int64_t experts, int64_t shared, const float *x, int64_t rows, const int64_t *ids,
                       const float *weights, int64_t chosen, float *out, int threads);
