/* Weights into blocks: errors against those of llama.cpp on the same numbers (tests/data/quantize,
 * made by bench/peers/quantize.py), and what must hold for any input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu_features.h"
#include "half.h"
#include "quantize_blocks.h"
#include "ref/decode_ref.h"

#define K 512
#define ROWS 16
#define N ((size_t)K * ROWS)
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const enum strata_type types[] = {
#define X(name, ...) STRATA_TYPE_##name,
    STRATA_PACKED_FORMATS(X)
#undef X
};

static const char *name_of(enum strata_type type)
{
    return strata_block_format(type)->name;
}

static unsigned char blocks[N * 2];
static float decoded[N];

/* n elements into blocks and back, by the reference's decoder. */
static void quantize(enum strata_type type, const float *x, const float *weight, size_t n)
{
    const struct strata_block_format *format = strata_block_format(type);
    strata_quantize_blocks(strata_cpu_level(), type, blocks, x, weight, n);
    for (size_t b = 0; b < n / format->block_elems; b++) {
        struct strata_block_parts parts;
        struct strata_decoded d;
        strata_parts_of_block(type, &parts, blocks + b * format->block_bytes);
        strata_decode_ref(type, &d, &parts);
        for (size_t i = 0; i < format->block_elems; i++)
            decoded[b * format->block_elems + i] =
                d.scale[i / 16] * (float)d.q[i] + d.offset[i / 16];
    }
}

static double error_of(const float *x, const float *weight, size_t n)
{
    double sum = 0, weights = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)x[i] - (double)decoded[i], w = weight ? (double)weight[i] : 1;
        sum += w * e * e;
        weights += w;
    }
    return sqrt(sum / weights);
}

static void read_floats(float *out, size_t n, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, STRATA_TEST_DATA "/quantize/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file || fread(out, sizeof *out, n, file) != n)
        fail_msg("%s cannot be read", path);
    fclose(file);
}

/* Random numbers of about normal distribution. */
static uint64_t state;
static float normal(void)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(state >> 40) / (1 << 24);
    }
    return (float)(sum - 6);
}

static void fill(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = normal() * scale;
}

static void no_worse_than_llama_cpp(void **unused)
{
    (void)unused;
    static float x[N], importance[N];
    unsigned lines = 0;
    read_floats(x, N, "weights.f32");
    read_floats(importance, K, "importance.f32");
    for (size_t r = 1; r < ROWS; r++)
        memcpy(importance + r * K, importance, K * sizeof *importance);
    FILE *file = fopen(STRATA_TEST_DATA "/quantize/llama_cpp.txt", "r");
    char name[16];
    double plain, weighted;
    assert_non_null(file);
    while (fscanf(file, "%15s %lf %lf", name, &plain, &weighted) == 3) {
        size_t t = 0;
        while (t < COUNT(types) && strcmp(name_of(types[t]), name) != 0)
            t++;
        assert_true(t < COUNT(types));
        quantize(types[t], x, NULL, N);
        double ours = error_of(x, NULL, N);
        if (!(ours <= plain))
            fail_msg("%s: error %.9g, llama.cpp's %.9g", name, ours, plain);
        quantize(types[t], x, importance, N);
        ours = error_of(x, importance, N);
        if (!(ours <= weighted))
            fail_msg("%s with importance: error %.9g, llama.cpp's %.9g", name, ours, weighted);
        lines++;
    }
    fclose(file);
    assert_int_equal(lines, COUNT(types));
}

/* Rounding with the scale that the largest element of a block, or its extremes, give. */
static double simple_error(enum strata_type type, const float *x, size_t n)
{
    struct strata_packed_format f = strata_packed_format(type);
    double sum = 0;
    for (size_t at = 0; at < n; at += 32) {
        float least = x[at], most = x[at];
        for (size_t i = at; i < at + 32; i++) {
            least = fminf(least, x[i]);
            most = fmaxf(most, x[i]);
        }
        float largest = most > -least ? most : least, levels = (float)(1 << f.bits);
        float d = f.offset ? (most - least) / (levels - 1) : largest / (-levels / 2);
        if (f.bits == 8)
            d = largest / 127;
        d = strata_half_to_float(strata_float_to_half(d));
        float m = f.offset ? strata_half_to_float(strata_float_to_half(least)) : 0;
        float lo = f.offset ? 0 : f.bits == 8 ? -127 : -levels / 2;
        float hi = f.offset ? levels - 1 : f.bits == 8 ? 127 : levels / 2 - 1;
        for (size_t i = at; i < at + 32; i++) {
            float q = d != 0 ? fminf(fmaxf(rintf((x[i] - m) / d), lo), hi) : 0;
            double e = (double)x[i] - (double)(q * d + m);
            sum += e * e;
        }
    }
    return sqrt(sum / (double)n);
}

/* At all magnitudes, down to where scales are subnormal and up to their end. */
static void no_worse_than_the_simple_rule(void **unused)
{
    (void)unused;
    static float x[N];
    static const float scales[] = {1e-9f, 1e-7f, 1e-6f, 3e-5f, 1e-3f, 1, 1000, 15000};
    for (size_t s = 0; s < COUNT(scales); s++) {
        fill(x, N, scales[s]);
        for (size_t t = 0; t < COUNT(types); t++) {
            struct strata_packed_format f = strata_packed_format(types[t]);
            quantize(types[t], x, NULL, N);
            double ours = error_of(x, NULL, N), zero = 0;
            for (size_t i = 0; i < N; i++)
                zero += (double)x[i] * (double)x[i];
            assert_true(ours <= sqrt(zero / (double)N));
            if (!f.k_type && !f.table && !(ours <= simple_error(types[t], x, N)))
                fail_msg("%s at %g: error %g, simple rule %g", name_of(types[t]), (double)scales[s],
                         ours, simple_error(types[t], x, N));
        }
    }
}

/* Every element within half a step of the largest scale, and a step beyond the ends. */
static void elements_stay_near(void **unused)
{
    (void)unused;
    static float x[N];
    fill(x, N, 1);
    for (size_t t = 0; t < COUNT(types); t++) {
        float step = ldexpf(1, 4 - strata_packed_format(types[t]).bits); /* of +-6 and more */
        quantize(types[t], x, NULL, N);
        for (size_t i = 0; i < N; i++)
            if (!(fabsf(decoded[i] - x[i]) <= step))
                fail_msg("%s: element %zu: %g became %g", name_of(types[t]), i, (double)x[i],
                         (double)decoded[i]);
    }
}

static void same_bytes_at_all_levels(void **unused)
{
    (void)unused;
    static float x[N], weight[N];
    static unsigned char reference[N * 2];
    fill(x, N, 0.1f);
    for (size_t i = 0; i < N; i++)
        weight[i] = fabsf(normal());
    x[100] = 1e30f; /* saturates */
    x[1000] = -0.0f;
    memset(x + 2048, 0, 256 * sizeof *x);
    for (size_t t = 0; t < COUNT(types); t++)
        for (int level = 0; level <= (int)strata_cpu_level(); level++)
            for (int weighted = 0; weighted < 2; weighted++) {
                const struct strata_block_format *format = strata_block_format(types[t]);
                size_t bytes = N / format->block_elems * format->block_bytes;
                const float *w = weighted ? weight : NULL;
                strata_quantize_blocks(STRATA_LEVEL_ref, types[t], reference, x, w, N);
                memset(blocks, 0xa5, sizeof blocks);
                strata_quantize_blocks((enum strata_level)level, types[t], blocks, x, w, N);
                if (memcmp(blocks, reference, bytes) != 0)
                    fail_msg("%s at level %d differs", name_of(types[t]), level);
                assert_int_equal(blocks[bytes], 0xa5);
            }
}

static void fill_constant(float *x, float value)
{
    for (size_t i = 0; i < 256; i++)
        x[i] = value;
}

/* Zeros, and constants that are a binary16 number, from which powers of two can be split off. */
static void constant_blocks(void **unused)
{
    (void)unused;
    static float x[256];
    static const float values[] = {1,    -1,     0.5f,  0.0625f,     -0.0625f,
                                   1000, -60000, 60000, 0.333251953f};
    for (size_t t = 0; t < COUNT(types); t++) {
        for (int sign = 0; sign < 2; sign++) {
            fill_constant(x, sign ? -0.0f : 0.0f);
            quantize(types[t], x, NULL, 256);
            for (size_t i = 0; i < 256; i++)
                assert_true(decoded[i] == 0);
        }
        for (size_t v = 0; v < COUNT(values); v++) {
            fill_constant(x, values[v]);
            quantize(types[t], x, NULL, 256);
            double error = error_of(x, NULL, 256) / fabs((double)values[v]);
            if (!(error <= 0))
                fail_msg("%s: constant %g: error %g of it", name_of(types[t]), (double)values[v],
                         error);
        }
    }
}

/* Values beyond what scales can hold become the nearest end; far below it, zero. */
static void extreme_values(void **unused)
{
    (void)unused;
    static float x[256];
    static const float values[] = {60000, 65504, 1e6f, 1e38f, 3e38f, 6e-8f, 1e-8f, 1e-30f, 1e-45f};
    for (size_t t = 0; t < COUNT(types); t++)
        for (size_t v = 0; v < COUNT(values); v++) {
            for (size_t i = 0; i < 256; i++)
                x[i] = i % 3 ? values[v] * (float)(i % 7) / 6 : -values[v];
            quantize(types[t], x, NULL, 256);
            for (size_t i = 0; i < 256; i++)
                if (!isfinite(decoded[i]) || fabsf(decoded[i]) > fmaxf(values[v], 1e-7f) * 1.5f)
                    fail_msg("%s: %g became %g", name_of(types[t]), (double)x[i],
                             (double)decoded[i]);
        }
}

/* Elements of weight 0 cost nothing, and leave the others more room; weights all 0 count alike. */
static void weights_decide(void **unused)
{
    (void)unused;
    static float x[N], weight[N], zeros[N];
    static unsigned char plain[N * 2];
    fill(x, N, 1);
    for (size_t i = 0; i < N; i++)
        weight[i] = i % 4 ? 1 : 0;
    for (size_t i = 0; i < N; i += 4)
        x[i] *= 5;
    for (size_t t = 0; t < COUNT(types); t++) {
        const struct strata_block_format *format = strata_block_format(types[t]);
        quantize(types[t], x, NULL, N);
        double alike = error_of(x, weight, N);
        memcpy(plain, blocks, sizeof plain);
        quantize(types[t], x, weight, N);
        if (!(error_of(x, weight, N) < alike * 0.95))
            fail_msg("%s: weighted error %g, without weights %g", name_of(types[t]),
                     error_of(x, weight, N), alike);
        quantize(types[t], x, zeros, N);
        assert_memory_equal(blocks, plain, N / format->block_elems * format->block_bytes);
    }
}

/* What was decoded is quantised again: nothing more is lost. */
static void again_loses_nothing(void **unused)
{
    (void)unused;
    static float x[N], once[N];
    fill(x, N, 0.05f);
    for (size_t t = 0; t < COUNT(types); t++) {
        quantize(types[t], x, NULL, N);
        double first = error_of(x, NULL, N);
        memcpy(once, decoded, sizeof once);
        quantize(types[t], once, NULL, N);
        double between = error_of(once, NULL, N), second = error_of(x, NULL, N);
        if (!(between <= first * 0.5 && second <= first * 1.1))
            fail_msg("%s: error %g, again %g, between %g", name_of(types[t]), first, second,
                     between);
    }
}

static void parts_come_back(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < COUNT(types); t++) {
        size_t bytes = strata_block_format(types[t])->block_bytes;
        unsigned char block[256], again[256];
        for (int round = 0; round < 100; round++) {
            struct strata_block_parts parts;
            memset(&parts, 0, sizeof parts);
            for (size_t i = 0; i < bytes; i++)
                block[i] = (unsigned char)(normal() * 100);
            strata_parts_of_block(types[t], &parts, block);
            strata_block_of_parts(types[t], again, &parts);
            assert_memory_equal(block, again, bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_worse_than_llama_cpp), cmocka_unit_test(no_worse_than_the_simple_rule),
        cmocka_unit_test(elements_stay_near),      cmocka_unit_test(same_bytes_at_all_levels),
        cmocka_unit_test(constant_blocks),         cmocka_unit_test(extreme_values),
        cmocka_unit_test(weights_decide),          cmocka_unit_test(again_loses_nothing),
        cmocka_unit_test(parts_come_back),
    };
    return cmocka_run_group_tests_name("weights into blocks", tests, NULL, NULL);
}
