/* Unpacking of quantised blocks; the layouts are those of block_formats.h. */
#include "decode_ref.h"

#include <string.h>

#include "half.h"

/* 32 4-bit numbers of 16 bytes: the low nibbles, then the high ones. */
static void nibbles(int8_t *q, const uint8_t *qs, int bias)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) - bias);
        q[i + 16] = (int8_t)((qs[i] >> 4) - bias);
    }
}

void strata_decode_Q4_0_ref(struct strata_decoded *out, const void *block)
{
    struct strata_block_q4_0 b;
    memcpy(&b, block, sizeof b);
    nibbles(out->q, b.qs, 8);
    out->scale[0] = out->scale[1] = strata_half_to_float(b.d);
}

void strata_decode_Q4_1_ref(struct strata_decoded *out, const void *block)
{
    struct strata_block_q4_1 b;
    memcpy(&b, block, sizeof b);
    nibbles(out->q, b.qs, 0);
    out->scale[0] = out->scale[1] = strata_half_to_float(b.d);
    out->offset[0] = out->offset[1] = strata_half_to_float(b.m);
}

void strata_decode_Q8_0_ref(struct strata_decoded *out, const void *block)
{
    struct strata_block_q8_0 b;
    memcpy(&b, block, sizeof b);
    memcpy(out->q, b.qs, sizeof b.qs);
    out->scale[0] = out->scale[1] = strata_half_to_float(b.d);
}

void strata_decode_Q4_K_ref(struct strata_decoded *out, const void *block)
{
    struct strata_block_q4_k b;
    memcpy(&b, block, sizeof b);
    float d = strata_half_to_float(b.d), dmin = strata_half_to_float(b.dmin);
    for (int j = 0; j < 8; j++) {
        int sc, mn;
        if (j < 4) {
            sc = b.scales[j] & 63;
            mn = b.scales[j + 4] & 63;
        } else {
            sc = (b.scales[j + 4] & 15) | b.scales[j - 4] >> 6 << 4;
            mn = b.scales[j + 4] >> 4 | b.scales[j] >> 6 << 4;
        }
        out->scale[2 * j] = out->scale[2 * j + 1] = d * (float)sc;
        out->offset[2 * j] = out->offset[2 * j + 1] = -(dmin * (float)mn);
        const uint8_t *qs = b.qs + j / 2 * 32;
        for (int i = 0; i < 32; i++)
            out->q[32 * j + i] = (int8_t)(j % 2 ? qs[i] >> 4 : qs[i] & 15);
    }
}

void strata_decode_Q6_K_ref(struct strata_decoded *out, const void *block)
{
    struct strata_block_q6_k b;
    memcpy(&b, block, sizeof b);
    float d = strata_half_to_float(b.d);
    for (int j = 0; j < 16; j++)
        out->scale[j] = d * (float)b.scales[j];
    for (int i = 0; i < 256; i++) {
        int half = i / 128, quarter = i % 128 / 32, l = i % 32;
        int low = b.ql[64 * half + 32 * (quarter % 2) + l] >> 4 * (quarter / 2) & 15;
        int high = b.qh[32 * half + l] >> 2 * quarter & 3;
        out->q[i] = (int8_t)((low | high << 4) - 32);
    }
}
