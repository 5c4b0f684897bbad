/* One pass of level.h for each kind of processor; `folio_select` picks at run time. */
#include "decoder.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

/* TARGET to END_TARGET: functions may use these features of the processor */
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define TARGET(features) PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_TARGET _Pragma("clang attribute pop")
#else
#define TARGET(features) _Pragma("GCC push_options") PRAGMA(GCC target(features))
#define END_TARGET _Pragma("GCC pop_options")
#endif

#define LEVEL plain
#define LANES 4
#include "level.h"
#undef LEVEL
#undef LANES
#if defined(__x86_64__)
TARGET("avx2,fma")
#define LEVEL avx2
#define LANES 8
#include "level.h"
#undef LEVEL
#undef LANES
END_TARGET
TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#define LEVEL avx512
#define LANES 16
#define VNNI
#include "level.h"
#undef LEVEL
END_TARGET
TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")
#define LEVEL avx512bf16
#define BF16_DOT
#include "level.h"
#undef LEVEL
#undef LANES
END_TARGET
#elif defined(__aarch64__)
#if defined(__clang__)
TARGET("dotprod")
#else
TARGET("arch=armv8.2-a+dotprod")
#endif
#define LEVEL dotprod
#define LANES 4
#define NEON_DOT
#include "level.h"
#undef LEVEL
#undef LANES
END_TARGET
#endif

static const struct { const char *name; const operations *operations; } levels[] = {
    {"plain", &operations_plain},
#if defined(__x86_64__)
    {"avx2", &operations_avx2}, {"avx512", &operations_avx512}, {"avx512bf16", &operations_avx512bf16},
#elif defined(__aarch64__)
    {"dotprod", &operations_dotprod},
#endif
};
const operations *folio_now = &operations_plain;

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

API void folio_select(int index) { folio_now = levels[index].operations; }

int folio_is_bfloat16(const matrix *m, int64_t count) {
#if defined(BF16_PRODUCTS)
    int fits = folio_now == &operations_avx512bf16;
    for (int64_t i = 0; fits && i < count; i++) fits = m[i].kind == BF16 && m[i].k % 8 == 0;
    return fits;
#else
    return 0;
#endif
}
