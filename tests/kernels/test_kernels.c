/* The kernel table, the level names, binary16, dequantisation against reference data made by other
 * implementations, and float products against OpenBLAS. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu_features.h"
#include "gemm_blas.h"
#include "half.h"
#include "kernel_list.h"
#include "registry.h"

/* Reads a file of at most `size` bytes; 0 when it does not exist. */
static size_t read_file(const char *folder, const char *name, const char *ending, void *data,
                        size_t size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    size_t got = fread(data, 1, size, file);
    assert_int_equal(fclose(file), 0);
    return got;
}

static void check_dequantize(enum strata_type type, const unsigned char *blocks, const float *want,
                             size_t n)
{
    float *got = malloc(n * sizeof *got);
    assert_non_null(got);
    for (int level = 0; level <= (int)strata_cpu_level(); level++) {
        struct strata_kernels kernels;
        strata_kernels_select(&kernels, (enum strata_level)level);
        memset(got, 0xff, n * sizeof *got);
        kernels.dequantize[type](got, blocks, n);
        for (size_t i = 0; i < n; i++) /* the data take -0 as 0 */
            if (got[i] != want[i])
                fail_msg("%s at %s: element %zu is %.9g, expected %.9g",
                         strata_block_format(type)->name,
                         strata_level_name((enum strata_level)level), i, (double)got[i],
                         (double)want[i]);
    }
    free(got);
}

/* TYPE.bin has the blocks and TYPE.npy, after its header, the values of rows of 512 elements. */
static size_t check_folder(const char *folder)
{
    static const enum strata_type types[] = {STRATA_TYPE_F16, STRATA_TYPE_BF16,
#define X(type, ...) STRATA_TYPE_##type,
                                             STRATA_PACKED_FORMATS(X)
#undef X
    };
    size_t found = 0;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const struct strata_block_format *format = strata_block_format(types[t]);
        unsigned char blocks[8 * 512 * 2], npy[256 + 8 * 512 * 4];
        float want[8 * 512];
        size_t size = read_file(folder, format->name, "bin", blocks, sizeof blocks);
        size_t npy_size = read_file(folder, format->name, "npy", npy, sizeof npy);
        if (size == 0)
            continue;
        size_t n = size / format->block_bytes * format->block_elems;
        assert_true(n > 0 && n % 512 == 0 && npy_size > n * 4);
        memcpy(want, npy + npy_size - n * 4, n * 4);
        check_dequantize(types[t], blocks, want, n);
        found++;
    }
    return found;
}

static void dequantize_matches_reference_data(void **state)
{
    (void)state;
    assert_int_equal(check_folder(STRATA_TEST_DATA "/gguf"), 14);
}

static void dequantize_matches_all_reference_data(void **state)
{
    (void)state;
    if (check_folder(STRATA_SHARED "/golden/gguf") == 0) {
        print_message("skipped: no reference data in " STRATA_SHARED "/golden/gguf\n");
        skip();
    }
}

/* Every level fills every plain slot, and the typed slots of whole types. */
static void every_level_has_a_full_table(void **state)
{
    (void)state;
    for (int level = 0; level < STRATA_LEVEL_COUNT; level++) {
        struct strata_kernels kernels;
        size_t types = 0;
        memset(&kernels, 0xff, sizeof kernels);
        strata_kernels_select(&kernels, (enum strata_level)level);
#define X(op) assert_non_null(kernels.op);
        STRATA_PLAIN_OPS(X)
#undef X
        for (size_t t = 0; t < STRATA_TYPE_COUNT; t++) {
            bool known = kernels.dequantize[t] != NULL;
            bool blocks = known && strata_block_format((enum strata_type)t)->block_elems > 1;
            assert_true((kernels.gemv_f32[t] != NULL) == (known && !blocks));
            assert_true((kernels.gemm_f32[t] != NULL) == (known && !blocks));
            assert_true((kernels.packed_f32[t] != NULL) == blocks);
            assert_true((kernels.packed_q8[t] != NULL) == blocks);
            bool cache = t == STRATA_TYPE_F16 || t == STRATA_TYPE_Q8_0;
            assert_true((kernels.encode[t] != NULL) == cache);
            assert_true((kernels.attention[t] != NULL) == (cache || t == STRATA_TYPE_F32));
            bool vectors = t == STRATA_TYPE_F32 || t == STRATA_TYPE_F16;
            assert_true((kernels.similarity_f32[t] != NULL) == vectors);
            assert_true((kernels.similarity_q16[t] != NULL) == (t == STRATA_TYPE_I8));
            assert_true((strata_packed_format((enum strata_type)t).bits != 0) == blocks);
            types += known;
        }
        assert_int_equal(types, 15);
    }
}

/* A table holds for each slot the registry's kernel of the highest level allowed. */
static void select_takes_the_highest_level(void **state)
{
    (void)state;
    size_t count;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (int level = 0; level < STRATA_LEVEL_COUNT; level++) {
        struct strata_kernels kernels;
        strata_kernels_select(&kernels, (enum strata_level)level);
        strata_packed_q8_fn *product = NULL;
        strata_softmax_fn *softmax = NULL;
        for (size_t i = 0; i < count && rows[i].level <= (enum strata_level)level; i++) {
            if (rows[i].op == STRATA_OP_packed_q8 && rows[i].type == STRATA_TYPE_Q4_1)
                product = rows[i].fn.packed_q8;
            if (rows[i].op == STRATA_OP_softmax)
                softmax = rows[i].fn.softmax;
        }
        assert_true(kernels.packed_q8[STRATA_TYPE_Q4_1] == product);
        assert_true(kernels.softmax == softmax);
    }
}

static void registry_lists_every_kernel_once(void **state)
{
    (void)state;
    size_t count;
    const struct strata_kernel *rows = strata_kernel_rows(&count);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || rows[i].level >= rows[i - 1].level);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rows[i].name, rows[j].name);
        size_t length = strlen(strata_op_name(rows[i].op));
        assert_int_equal(strncmp(rows[i].name, strata_op_name(rows[i].op), length), 0);
    }
}

/* Packing loses nothing: each part of each block comes back, and rows that do not exist are zeros.
 */
static void packing_keeps_every_bit(void **state)
{
    enum { ROWS = STRATA_PANEL_ROWS, K = 512 };
    static unsigned char rows[ROWS][K * 2];
    static _Alignas(64) unsigned char panel[ROWS * K * 2];
    (void)state;
    for (size_t t = 0; t < STRATA_TYPE_COUNT; t++) {
        enum strata_type type = (enum strata_type)t;
        const struct strata_block_format *format = strata_block_format(type);
        if (!strata_packed_format(type).bits)
            continue;
        size_t row_bytes = K / format->block_elems * format->block_bytes;
        assert_in_range(strata_panel_bytes(type, K), ROWS * row_bytes, sizeof panel);
        for (size_t i = 0; i < sizeof rows; i++)
            rows[i / sizeof *rows][i % sizeof *rows] = (unsigned char)(i * 2654435761u >> 13);
        for (size_t n = 1; n <= ROWS; n += 5) {
            memset(panel, 0xff, sizeof panel);
            strata_pack_panel(type, panel, rows, sizeof *rows, n, K);
            for (size_t r = 0; r < ROWS; r++)
                for (size_t b = 0; b < K / format->block_elems; b++) {
                    struct strata_block_parts want = {0}, got = {0};
                    if (r < n)
                        strata_parts_of_block(type, &want, rows[r] + b * format->block_bytes);
                    strata_parts_of_panel(type, &got, panel, K, r, b);
                    assert_memory_equal(&got, &want, sizeof want);
                }
        }
    }
}

static void level_names_go_both_ways(void **state)
{
    (void)state;
    for (int level = 0; level < STRATA_LEVEL_COUNT; level++)
        assert_int_equal(strata_level_from_name(strata_level_name((enum strata_level)level)),
                         level);
    assert_int_equal(strata_level_from_name("AVX2"), STRATA_LEVEL_COUNT);
    assert_int_equal(strata_level_from_name(""), STRATA_LEVEL_COUNT);
    assert_true(strata_cpu_level() < STRATA_LEVEL_COUNT);
}

static void block_formats_are_found_by_gguf_id(void **state)
{
    (void)state;
    for (size_t t = 0; t < STRATA_TYPE_COUNT; t++)
        assert_int_equal(strata_type_from_gguf(strata_block_format((enum strata_type)t)->gguf_id),
                         t);
    const uint32_t removed[] = {4, 5, 31, 32, 33, 36, 37, 38, 1000};
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++)
        assert_int_equal(strata_type_from_gguf(removed[i]), STRATA_TYPE_COUNT);
}

/* Every binary16 value survives the way to float and back; between two neighbours everything below
 * the middle goes down, the middle to the even one, everything above it up. */
static void binary16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7c00; half++) {
        float low = strata_half_to_float((uint16_t)half);
        float high = half == 0x7bff ? 65536 : strata_half_to_float((uint16_t)(half + 1));
        float middle = low + (high - low) / 2;
        uint16_t even = (uint16_t)(half + (half & 1));
        assert_int_equal(strata_float_to_half(low), half);
        assert_int_equal(strata_float_to_half(-low), half | 0x8000);
        assert_int_equal(strata_float_to_half(nextafterf(middle, 0)), half);
        assert_int_equal(strata_float_to_half(middle), even);
        assert_int_equal(strata_float_to_half(nextafterf(middle, INFINITY)), half + 1);
    }
    assert_true(isinf(strata_half_to_float(0x7c00)) && isinf(strata_half_to_float(0xfc00)));
    assert_int_equal(strata_float_to_half(INFINITY), 0x7c00);
    for (uint32_t half = 0x7c01; half < 0x8000; half++) {
        assert_true(isnan(strata_half_to_float((uint16_t)half)));
        assert_true(isnan(
            strata_half_to_float(strata_float_to_half(strata_half_to_float((uint16_t)half)))));
    }
}

/* kernels.h, struct strata_attention: heads of one token do not influence each other's bits. */
static void attention_heads_are_independent(void **state)
{
    enum { HEADS = STRATA_ATTENTION_HEADS, DIM = 72, POSITIONS = 150 };
    static float q[HEADS * DIM], together[HEADS * DIM], alone[HEADS * DIM];
    static uint16_t k[POSITIONS * DIM], v[POSITIONS * DIM];
    (void)state;
    for (size_t i = 0; i < HEADS * DIM; i++)
        q[i] = (float)((i * 37 + 5) % 101) / 50 - 1;
    for (size_t i = 0; i < POSITIONS * DIM; i++) {
        k[i] = (uint16_t)(0x3000 + i * 7919 % 0x0c00); /* 0.125 to 1 */
        v[i] = (uint16_t)(0xb000 + i * 104729 % 0x0c00);
    }
    void *scratch = aligned_alloc(64, (STRATA_ATTENTION_SCRATCH_BYTES(DIM) + 63) / 64 * 64);
    assert_non_null(scratch);
    for (size_t level = 0; level <= (size_t)strata_cpu_level(); level++) {
        struct strata_kernels kernels;
        strata_kernels_select(&kernels, (enum strata_level)level);
        for (uint32_t visible = 1; visible <= POSITIONS; visible += 13) {
            struct strata_attention a = {
                .window = SIZE_MAX,
                .out = together,
                .out_head_stride = DIM,
                .q = q,
                .q_head_stride = DIM,
                .k = k,
                .k_stride = 2 * DIM,
                .v = v,
                .v_stride = 2 * DIM,
                .tokens = 1,
                .heads = HEADS,
                .head_dim = DIM,
                .scale = 0.125f,
                .scratch = scratch,
                .visible = &visible,
            };
            kernels.attention[STRATA_TYPE_F16](&a);
            a.heads = 1;
            for (size_t h = 0; h < HEADS; h++) {
                a.q = q + h * DIM;
                a.out = alone + h * DIM;
                kernels.attention[STRATA_TYPE_F16](&a);
            }
            assert_memory_equal(together, alone, sizeof alone);
        }
    }
    free(scratch);
}

/* OpenBLAS and the reference share nothing: they agree within the rounding of float sums. */
static void blas_agrees_with_the_reference(void **state)
{
    (void)state;
    if (!strata_blas_open()) {
        print_message("skipped: OpenBLAS is not built in or cannot be loaded\n");
        skip();
    }
    enum { ROWS = 37, TOKENS = 70, K = 256, LDY = 41 };
    static float x[TOKENS * K], got[TOKENS * LDY], want[TOKENS * LDY], weights[ROWS * K];
    static _Alignas(64) unsigned char scratch[STRATA_GEMM_SCRATCH_BYTES(K)];
    uint32_t random = 1;
    for (size_t i = 0; i < TOKENS * K; i++)
        x[i] = (float)((random = random * 1664525 + 1013904223) >> 8) * 0x1p-23f - 1;
    for (size_t i = 0; i < ROWS * K; i++)
        weights[i] = (float)((random = random * 1664525 + 1013904223) >> 8) * 0x1p-23f - 1;
    struct strata_matmul a = {.ldy = LDY,
                              .w = weights,
                              .row_bytes = K * 4,
                              .rows = ROWS,
                              .x = x,
                              .ldx = K,
                              .m = TOKENS,
                              .k = K,
                              .scratch = scratch};
    for (size_t i = 0; i < TOKENS * LDY; i++)
        got[i] = want[i] = NAN;
    a.y = want;
    strata_gemm_f32_F32_ref(&a);
    a.y = got;
    strata_gemm_f32_blas(&a, strata_dequantize_F32_ref);
    for (size_t i = 0; i < TOKENS * LDY; i++) {
        if (i % LDY >= ROWS)
            assert_true(isnan(got[i]) && isnan(want[i]));
        else /* sum |w x| is about K / 4 */
            assert_true(fabsf(got[i] - want[i]) <= 3 * 16 * 0x1p-24f * K / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dequantize_matches_reference_data),
        cmocka_unit_test(dequantize_matches_all_reference_data),
        cmocka_unit_test(every_level_has_a_full_table),
        cmocka_unit_test(select_takes_the_highest_level),
        cmocka_unit_test(registry_lists_every_kernel_once),
        cmocka_unit_test(packing_keeps_every_bit),
        cmocka_unit_test(level_names_go_both_ways),
        cmocka_unit_test(block_formats_are_found_by_gguf_id),
        cmocka_unit_test(binary16_rounds_to_nearest_even),
        cmocka_unit_test(attention_heads_are_independent),
        cmocka_unit_test(blas_agrees_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
