/* Valid GGUF files: what is read from them, look-ups, layout warnings, paths, large metadata. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "gguf_broken.h"
#include "gguf_fixture.h"

static strata_file *open_small(void)
{
    struct gguf_writer w;
    gguf_small(&w);
    return gguf_open(gguf_saved(&w, "small.gguf"), NULL, NULL);
}

static void describes_the_file(void **state)
{
    (void)state;
    strata_file *file = open_small();
    strata_file_info info = strata_file_info_get(file);
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.name, "");
    assert_string_equal(info.tokenizer, "");
    assert_int_equal(info.version, 3);
    assert_int_equal(info.layers, 2);
    assert_int_equal(info.context_length, 0);
    assert_int_equal(info.parameters, 16 + 192 + 5);
    assert_int_equal(info.shards, 1);
    struct stat status;
    assert_int_equal(stat(strata__file_path(file), &status), 0);
    assert_int_equal(info.file_bytes, status.st_size);
    assert_int_equal(strata_file_tensor_count(file), 3);
    strata_tensor_info tensor = strata_file_tensor(file, 1);
    assert_string_equal(tensor.name, "blk.1.b");
    assert_string_equal(tensor.type, "Q4_0");
    assert_int_equal(tensor.n_dims, 2);
    assert_int_equal(tensor.shape[0], 64);
    assert_int_equal(tensor.shape[1], 3);
    assert_int_equal(tensor.shape[3], 1);
    assert_int_equal(tensor.bytes, 108);
    strata_file_close(&file);
    assert_null(file);
    strata_file_close(&file);
    strata_file_close(NULL);
}

static void finds_tensors_and_data(void **state)
{
    (void)state;
    float values[24];
    for (int i = 0; i < 24; i++)
        values[i] = (float)i;
    struct gguf_writer w;
    gguf_begin(&w, 2);
    gguf_align(&w, 64);
    gguf_tensor(&w, "empty", STRATA_TYPE_I8, 1, (uint64_t[]){1}, NULL);
    gguf_tensor(&w, "v", STRATA_TYPE_F32, 4, (uint64_t[]){4, 3, 1, 2}, values);
    gguf_finish(&w);
    strata_file *file = gguf_open(gguf_saved(&w, "data.gguf"), NULL, NULL);
    assert_null(strata__file_find(file, "w"));
    assert_null(strata__file_find(file, ""));
    const struct strata__tensor *tensor = strata__file_find(file, "v");
    assert_non_null(tensor);
    assert_int_equal(tensor->rows, 6);
    assert_int_equal(tensor->row_bytes, 16);
    assert_int_equal(tensor->bytes, sizeof values);
    assert_int_equal((uintptr_t)tensor->data % 64, 0);
    assert_int_equal(tensor->offset % 64, 0);
    assert_memory_equal(tensor->data, values, sizeof values);
    strata_file_close(&file);
}

static void needs_shapes(void **state)
{
    (void)state;
    strata_file *file = open_small();
    const struct strata__tensor *tensor;
    assert_int_equal(strata__file_need(file, "blk.1.b", 3, 64, &tensor), STRATA_OK);
    assert_ptr_equal(tensor, strata__file_find(file, "blk.1.b"));
    assert_int_equal(strata__file_need(file, "output", 1, 5, &tensor), STRATA_OK);
    assert_int_equal(strata__file_need(file, "blk.1.b", 64, 3, &tensor), STRATA_E_FORMAT);
    assert_null(tensor);
    char begin[600];
    snprintf(begin, sizeof begin, "%s:%" PRIu64 ": tensor \"blk.1.b\": shape 64 x 3 x 1 x 1",
             strata__file_path(file), strata__file_find(file, "blk.1.b")->header_offset);
    gguf_says(strata_last_error(), begin);
    gguf_says(strata_last_error(), "expected 3 x 64");
    assert_int_equal(strata__file_need(file, "blk.1.b", 4, 64, &tensor), STRATA_E_FORMAT);
    assert_int_equal(strata__file_need(file, "nowhere", 4, 64, &tensor), STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "tensor \"nowhere\": missing, expected shape 64 x 4");
    strata_file_close(&file);
}

static void reads_integers(void **state)
{
    (void)state;
    strata_file *file = open_small();
    static const struct {
        const char *key;
        uint64_t value;
    } good[] = {{"test.u8", 200}, {"test.u16", 60000},      {"test.i16", 30000},
                {"test.one", 1},  {"test.u64", UINT64_MAX}, {"general.alignment", 32}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t value = 77;
        bool found = false;
        assert_int_equal(strata__meta_u64(file, good[i].key, &value, &found), STRATA_OK);
        assert_true(found);
        assert_true(value == good[i].value);
    }
    static const struct {
        const char *key, *says;
    } bad[] = {{"test.two", "-2, expected 0 or more"},
               {"test.i8", "-100, expected 0 or more"},
               {"test.i64", "-9223372036854775808, expected 0 or more"},
               {"test.flag", "BOOL, expected an integer"},
               {"test.f32", "FLOAT32, expected an integer"},
               {"test.tokens", "ARRAY, expected an integer"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t value = 77;
        char where[600], begin[700];
        assert_int_equal(strata__meta_u64(file, bad[i].key, &value, NULL), STRATA_E_FORMAT);
        assert_true(value == 77);
        snprintf(begin, sizeof begin, "%s: key \"%s\": %s",
                 strata__file_where(file, bad[i].key, where, sizeof where), bad[i].key,
                 bad[i].says);
        gguf_says(strata_last_error(), begin);
    }
    strata_file_close(&file);
}

static void absent_keys(void **state)
{
    (void)state;
    strata_file *file = open_small();
    uint64_t number = 77;
    float real = 7;
    bool truth = true, found = true;
    struct strata__string string = {"x", 1};
    struct strata__meta_array array = {.count = 77};
    assert_int_equal(strata__meta_u64(file, "nowhere", &number, &found), STRATA_OK);
    assert_true(!found && number == 77);
    found = true;
    assert_int_equal(strata__meta_f32(file, "nowhere", &real, &found), STRATA_OK);
    assert_true(!found && real == 7);
    found = true;
    assert_int_equal(strata__meta_bool(file, "nowhere", &truth, &found), STRATA_OK);
    assert_true(!found && truth);
    found = true;
    assert_int_equal(strata__meta_string(file, "nowhere", &string, &found), STRATA_OK);
    assert_true(!found && string.size == 1);
    found = true;
    assert_int_equal(strata__meta_array(file, "nowhere", STRATA__META_F32, &array, &found),
                     STRATA_OK);
    assert_true(!found && array.count == 77);
    assert_int_equal(strata__meta_u64(file, "nowhere", &number, NULL), STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "small.gguf: key \"nowhere\": missing");
    char where[600];
    assert_string_equal(strata__file_where(file, "nowhere", where, sizeof where),
                        strata__file_path(file));
    strata_file_close(&file);
}

static void reads_other_values(void **state)
{
    (void)state;
    strata_file *file = open_small();
    float real;
    bool truth = false, found;
    struct strata__string string;
    assert_int_equal(strata__meta_f32(file, "test.f32", &real, NULL), STRATA_OK);
    assert_true(real == 0.25f);
    assert_int_equal(strata__meta_f32(file, "test.f64", &real, &found), STRATA_OK);
    assert_true(found && real == 0.5f);
    assert_int_equal(strata__meta_f32(file, "test.one", &real, &found), STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "UINT32, expected FLOAT32 or FLOAT64");
    assert_int_equal(strata__meta_bool(file, "test.flag", &truth, NULL), STRATA_OK);
    assert_true(truth);
    assert_int_equal(strata__meta_bool(file, "test.u8", &truth, &found), STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "UINT8, expected BOOL");
    assert_int_equal(strata__meta_string(file, "general.architecture", &string, NULL), STRATA_OK);
    assert_int_equal(string.size, 5);
    assert_memory_equal(string.text, "llama", 5);
    assert_int_equal(strata__meta_string(file, "test.i16", &string, &found), STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "INT16, expected STRING");
    strata_file_close(&file);
}

static void reads_arrays(void **state)
{
    (void)state;
    strata_file *file = open_small();
    struct strata__meta_array array;
    struct strata__string strings[3];
    bool found;
    assert_int_equal(strata__meta_array(file, "test.scores", STRATA__META_F32, &array, &found),
                     STRATA_OK);
    assert_true(found && array.count == 3 && array.type == STRATA__META_F32);
    assert_memory_equal(array.data, ((float[]){1, -2, 3}), 12);
    assert_int_equal(strata__meta_array(file, "test.tokens", STRATA__META_STRING, &array, NULL),
                     STRATA_OK);
    assert_int_equal(array.count, 3);
    strata__meta_array_strings(&array, strings);
    assert_int_equal(strings[0].size, 25);
    assert_int_equal(strings[1].size, 2);
    assert_memory_equal(strings[1].text, "bc", 2);
    assert_int_equal(strings[2].size, 0);
    assert_int_equal(strata__meta_array(file, "test.scores", STRATA__META_F64, &array, NULL),
                     STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "ARRAY of FLOAT32, expected ARRAY of FLOAT64");
    assert_int_equal(strata__meta_array(file, "test.one", STRATA__META_F32, &array, NULL),
                     STRATA_E_FORMAT);
    gguf_says(strata_last_error(), "UINT32, expected ARRAY of FLOAT32");
    strata_file_close(&file);
}

/* Counts warnings and keeps the latest. */
struct warnings {
    int count;
    char line[512];
};

static void keep_warning(void *user, strata_log_level level, const char *line)
{
    struct warnings *warnings = user;
    assert_int_equal(level, STRATA_LOG_WARN);
    warnings->count++;
    snprintf(warnings->line, sizeof warnings->line, "%s", line);
}

/* Opens the writer's file, expects `count` warnings, the last with this text at this offset. */
static void warns(struct gguf_writer *w, off_t size, int count, size_t offset, const char *text)
{
    struct warnings warnings = {0};
    const char *path = gguf_saved(w, "layout.gguf");
    if (size)
        assert_int_equal(truncate(path, size), 0);
    strata_file *file = gguf_open(path, keep_warning, &warnings);
    strata_file_close(&file);
    assert_int_equal(warnings.count, count);
    if (count) {
        char expected[600];
        snprintf(expected, sizeof expected, "%s:%zu: %s", path, offset, text);
        assert_string_equal(warnings.line, expected);
    }
}

static void warns_of_unused_bytes(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_small(&w);
    warns(&w, 0, 0, 0, NULL);
    gguf_small(&w);
    size_t end = w.data_at + 192 + 10;
    warns(&w, (off_t)end, 0, 0, NULL); /* the last tensor's padding may be missing */
    gguf_small(&w);
    end = w.data_at + 224;
    warns(&w, (off_t)end + 1, 1, end, "after the last tensor: 1 bytes unused");
    gguf_small(&w);
    warns(&w, (off_t)end + (1 << 30), 1, end, "after the last tensor: 1073741824 bytes unused");

    for (int first = 0; first < 2; first++) {
        gguf_begin(&w, 3);
        if (first)
            gguf_hole(&w, 96);
        gguf_tensor(&w, "a", STRATA_TYPE_F32, 1, (uint64_t[]){5}, NULL);
        if (!first)
            gguf_hole(&w, 96);
        gguf_tensor(&w, "b", STRATA_TYPE_F32, 1, (uint64_t[]){5}, NULL);
        gguf_finish(&w);
        end = w.data_at + (first ? 0 : 32);
        warns(&w, 0, 1, end, "hole before a tensor: 96 bytes unused");
    }
}

/* The table may list tensors in another order than their data. */
static void accepts_any_order(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_begin(&w, 3);
    for (int i = 0; i < 4; i++)
        gguf_tensor(&w, (char[]){(char)('a' + i), 0}, STRATA_TYPE_F32, 1, (uint64_t[]){8},
                    (float[8]){(float)i});
    gguf_finish(&w);
    static const uint64_t places[] = {2, 0, 3, 1};
    for (size_t i = 0; i < 4; i++)
        gguf_put_u64(&w, gguf_tensor_at(&w, i).offset, 32 * places[i]);
    struct warnings warnings = {0};
    strata_file *file = gguf_open(gguf_saved(&w, "order.gguf"), keep_warning, &warnings);
    assert_int_equal(warnings.count, 0);
    for (size_t i = 0; i < 4; i++) {
        const float *data = strata__file_find(file, (char[]){(char)('a' + i), 0})->data;
        assert_true(*data == (float)places[i]);
    }
    strata_file_close(&file);
}

static void refuses_every_prefix(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_small(&w);
    size_t end = w.data_at + 192 + 10; /* of the last tensor's data */
    const char *path = gguf_path("prefix.gguf");
    gguf_save(&w, path);
    gguf_free(&w);
    while (end-- > 0) {
        assert_int_equal(truncate(path, (off_t)end), 0);
        gguf_refusal(path, STRATA_E_FORMAT);
    }
}

static void file_without_tensors(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_begin(&w, 3);
    gguf_finish(&w);
    gguf_resize(&w, 24);
    struct warnings warnings = {0};
    strata_file *file = gguf_open(gguf_saved(&w, "bare.gguf"), keep_warning, &warnings);
    assert_int_equal(warnings.count, 0);
    assert_int_equal(strata_file_tensor_count(file), 0);
    assert_null(strata__file_find(file, "a"));
    assert_string_equal(strata_file_info_get(file).architecture, "");
    strata_file_close(&file);
}

static void escapes_text_of_the_file(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_begin(&w, 3);
    gguf_key_string(&w, "general.architecture", "ll\x1b[2Jama");
    gguf_key_string(&w, "general.name", "caf\xc3\xa9 \xff");
    gguf_finish(&w);
    strata_file *file = gguf_open(gguf_saved(&w, "new\nline.gguf"), NULL, NULL);
    strata_file_info info = strata_file_info_get(file);
    assert_string_equal(info.architecture, "ll\\x1b[2Jama");
    assert_string_equal(info.name, "caf\xc3\xa9 \\xff");
    assert_non_null(strstr(strata__file_path(file), "/new\\x0aline.gguf"));
    strata_file_close(&file);
}

static void shows_the_end_of_a_long_path(void **state)
{
    (void)state;
    char path[600] = "";
    for (int i = 0; i < 100; i++)
        strcat(path, "./\xc3\xa9/");
    path[300] = 0;
    strcat(path, "/name.gguf");
    const char *message = gguf_refusal(path, STRATA_E_IO);
    assert_memory_equal(message, "...", 3);
    gguf_says(message, "/name.gguf: cannot open: No such file");
    assert_true(strlen(message) < 300);
}

static void needs_a_path(void **state)
{
    (void)state;
    gguf_refusal(NULL, STRATA_E_INVALID);
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* 300 000 tokens with scores, types and merges. */
static void large_metadata_opens_fast(void **state)
{
    (void)state;
    enum { N = 300000 };
    const char **strings = malloc(N * sizeof *strings);
    char *text = malloc(N * 16);
    float *scores = calloc(N, sizeof *scores);
    int32_t *kinds = calloc(N, sizeof *kinds);
    assert_true(strings && text && scores && kinds);
    for (int i = 0; i < N; i++) {
        snprintf(text + 16 * i, 16, "tok%d", i);
        strings[i] = text + 16 * i;
    }
    struct gguf_writer w;
    gguf_begin(&w, 3);
    gguf_key_strings(&w, "tokenizer.ggml.tokens", N, strings);
    gguf_key_strings(&w, "tokenizer.ggml.merges", N, strings);
    gguf_key_array(&w, "tokenizer.ggml.scores", STRATA__META_F32, N, scores, N * sizeof *scores);
    gguf_key_array(&w, "tokenizer.ggml.token_type", STRATA__META_I32, N, kinds, N * sizeof *kinds);
    gguf_finish(&w);
    const char *path = gguf_saved(&w, "large.gguf");
    double best = INFINITY;
    for (int i = 0; i < 5; i++) {
        fault_reset();
        double begin = milliseconds();
        strata_file *file = gguf_open(path, NULL, NULL);
        double spent = milliseconds() - begin;
        assert_true(fault_bytes() < 4096);
        best = spent < best ? spent : best;
        strata_file_close(&file);
    }
    print_message("300 000 tokens: %.2f ms\n", best);
    assert_true(best <= 150);
    free(kinds);
    free(scores);
    free(text);
    free(strings);
}

/* Many keys and tensors are each found, and opening stays linear. */
static void many_names(void **state)
{
    (void)state;
    enum { N = 50000 };
    struct gguf_writer w;
    char name[32];
    gguf_begin(&w, 3);
    gguf_align(&w, 8);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "n%u", i);
        gguf_key_u32(&w, name, i);
        gguf_tensor(&w, name, STRATA_TYPE_I8, 1, (uint64_t[]){1}, &(int8_t){(int8_t)i});
    }
    gguf_finish(&w);
    size_t size = w.file.size;
    fault_reset();
    strata_file *file = gguf_open(gguf_saved(&w, "many.gguf"), NULL, NULL);
    assert_true(fault_bytes() < 4 * size + (1 << 20));
    for (uint32_t i = 0; i < N; i++) {
        uint64_t value = 0;
        snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(strata__meta_u64(file, name, &value, NULL), STRATA_OK);
        assert_int_equal(value, i);
        assert_int_equal(*(const int8_t *)strata__file_find(file, name)->data, (int8_t)i);
    }
    strata_file_close(&file);
}

/* The reference models load without a warning, with the sizes that their types give. */
static void reference_models(void **state)
{
    (void)state;
    static const char *const models[] = {
        "llama",         "qwen2",         "openelm",         "gemma3",         "bert",
        "llama256-F16",  "llama256-BF16", "llama256-Q4_0",   "llama256-Q4_1",  "llama256-Q5_0",
        "llama256-Q5_1", "llama256-Q8_0", "llama256-Q2_K",   "llama256-Q3_K",  "llama256-Q4_K",
        "llama256-Q5_K", "llama256-Q6_K", "llama256-IQ4_NL", "llama256-IQ4_XS"};
    if (access(STRATA_SHARED "/golden/tiny", R_OK) != 0) {
        print_message("no reference data in %s: skipped\n", STRATA_SHARED);
        skip();
    }
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[600];
        struct warnings warnings = {0};
        snprintf(path, sizeof path, STRATA_SHARED "/golden/tiny/%s.gguf", models[i]);
        strata_file *file = gguf_open(path, keep_warning, &warnings);
        assert_int_equal(warnings.count, 0);
        strata_file_info info = strata_file_info_get(file);
        assert_memory_equal(info.architecture, models[i], strlen(info.architecture));
        assert_true(info.layers >= 1 && strata_file_tensor_count(file) > info.layers);
        const char *type = strchr(models[i], '-');
        const struct strata__tensor *matrix = strata__file_find(file, "blk.0.ffn_up.weight");
        assert_non_null(matrix);
        if (type)
            assert_string_equal(strata_block_format(matrix->type)->name, type + 1);
        strata_file_close(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_the_file),
        cmocka_unit_test(finds_tensors_and_data),
        cmocka_unit_test(needs_shapes),
        cmocka_unit_test(reads_integers),
        cmocka_unit_test(absent_keys),
        cmocka_unit_test(reads_other_values),
        cmocka_unit_test(reads_arrays),
        cmocka_unit_test(warns_of_unused_bytes),
        cmocka_unit_test(accepts_any_order),
        cmocka_unit_test(refuses_every_prefix),
        cmocka_unit_test(file_without_tensors),
        cmocka_unit_test(escapes_text_of_the_file),
        cmocka_unit_test(shows_the_end_of_a_long_path),
        cmocka_unit_test(needs_a_path),
        cmocka_unit_test(large_metadata_opens_fast),
        cmocka_unit_test(many_names),
        cmocka_unit_test(reference_models),
    };
    gguf_folder_create();
    int failed = cmocka_run_group_tests_name("GGUF files", tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
