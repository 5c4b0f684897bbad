/* Attention of one query, and what stands between products. */
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
