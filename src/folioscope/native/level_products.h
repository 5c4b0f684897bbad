/* Products of one block of outputs with a few rows, and rows made ready for them. */
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
