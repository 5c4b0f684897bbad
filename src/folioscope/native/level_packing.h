/* Floats to a quantised layout, as layout.py does it. */
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
