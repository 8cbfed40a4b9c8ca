/* strata_quantize and strata_imatrix: models that were quantised give about the same logits, and
 * whatever fails leaves nothing behind. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "faults.h"
#include "gguf_fixture.h"
#include "kernels.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char folder[4096]; /* of the test */
static char said[8192];   /* the log */

static void keep_log(void *user, strata_log_level level, const char *line)
{
    (void)user;
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%d %s\n", (int)level, line);
}

static strata_runtime *open_runtime(int threads)
{
    strata_config config;
    strata_runtime *runtime;
    strata_config_default(&config);
    config.fixed_placement = true;
    config.threads = threads;
    config.no_tuning = true;
    config.blas = "off";
    config.log = keep_log;
    said[0] = 0;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    return runtime;
}

static strata_quantize_options options_of(const char *type)
{
    strata_quantize_options options;
    strata_quantize_options_default(&options);
    options.type = type;
    return options;
}

/* Quantises with one or two threads; the status. */
static strata_status quantize(const char *in, const char *out,
                              const strata_quantize_options *options, int threads)
{
    strata_runtime *runtime = open_runtime(threads);
    strata_status status = strata_quantize(runtime, in, out, options, NULL, NULL, NULL);
    strata_runtime_close(&runtime);
    return status;
}

static unsigned entries_of_folder(void)
{
    DIR *entries = opendir(folder);
    unsigned count = 0;
    assert_non_null(entries);
    while (readdir(entries))
        count++;
    closedir(entries);
    return count;
}

/* It fails so, with this in its message, and the folder is as before. */
static void refuses(const char *in, const strata_quantize_options *options, strata_status status,
                    const char *says)
{
    unsigned before = entries_of_folder();
    assert_int_equal(quantize(in, gguf_path("refused.gguf"), options, 2), status);
    gguf_says(strata_last_error(), says);
    assert_int_equal(entries_of_folder(), before);
}

/* ---- files to work on ---- */

static float pattern(size_t i)
{
    return (float)((i * 7919 + i * i % 131) % 257) / 256 - 0.5f;
}

static float matrix[256 * 24], vector[256];

/* A model of no architecture: matrices of 256, 64 and 33 columns, a norm, a vector, integers. */
static const char *small_file(float poison)
{
    struct gguf_writer w;
    static const int32_t integers[64] = {1, -2, 3};
    for (size_t i = 0; i < COUNT(matrix); i++)
        matrix[i] = pattern(i);
    for (size_t i = 0; i < COUNT(vector); i++)
        vector[i] = pattern(i * 3);
    if (poison != 0)
        matrix[259] = poison;
    gguf_begin(&w, 3);
    gguf_key_string(&w, "general.architecture", "none");
    gguf_key_u32(&w, "general.file_type", 0);
    gguf_key_string(&w, "a.text", "kept");
    gguf_tensor(&w, "token_embd.weight", STRATA_TYPE_F32, 2, (uint64_t[]){256, 24}, matrix);
    gguf_tensor(&w, "a.norm", STRATA_TYPE_F32, 1, (uint64_t[]){256}, vector);
    gguf_tensor(&w, "blk.0.w256.weight", STRATA_TYPE_F32, 2, (uint64_t[]){256, 24}, matrix);
    gguf_tensor(&w, "blk.0.w64.weight", STRATA_TYPE_F32, 2, (uint64_t[]){64, 96}, matrix);
    gguf_tensor(&w, "blk.0.w33.weight", STRATA_TYPE_F32, 2, (uint64_t[]){33, 10}, matrix);
    gguf_tensor(&w, "blk.0.attn_norm.weight", STRATA_TYPE_F32, 2, (uint64_t[]){128, 2}, vector);
    gguf_tensor(&w, "position_embd.weight", STRATA_TYPE_F32, 2, (uint64_t[]){64, 4}, vector);
    gguf_tensor(&w, "integers", STRATA_TYPE_I32, 2, (uint64_t[]){32, 2}, integers);
    gguf_tensor(&w, "experts", STRATA_TYPE_F32, 3, (uint64_t[]){64, 4, 3}, matrix);
    gguf_finish(&w);
    static char path[4096];
    snprintf(path, sizeof path, "%s", gguf_saved(&w, "in.gguf"));
    return path;
}

static void has_type(const strata_file *file, const char *name, const char *type)
{
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        strata_tensor_info info = strata_file_tensor(file, i);
        if (!strcmp(info.name, name)) {
            assert_string_equal(info.type, type);
            return;
        }
    }
    fail_msg("no tensor %s", name);
}

/* ---- types of tensors ---- */
static void rules_of_types(void **state)
{
    (void)state;
    const char *in = small_file(0);
    char out[4096];
    snprintf(out, sizeof out, "%s", gguf_path("out.gguf"));
    strata_quantize_rule rules[] = {
        {"*.w64.*", "q8_0"}, {"*w64*", "q4_0"}, {"*norm.weight", "f16"}};
    strata_quantize_options options = options_of("q4_k");
    assert_int_equal(quantize(in, out, &options, 2), STRATA_OK);
    gguf_says(said, "2 blk.0.w64.weight: rows of 64 elements are no multiple");
    gguf_says(said, "of Q4_K: Q5_0");
    gguf_says(said, "2 blk.0.w33.weight: rows of 33");
    gguf_says(said, "1 3 of 9 tensors have rows");
    strata_file *file = gguf_open(out, NULL, NULL);
    has_type(file, "token_embd.weight", "Q6_K"); /* there is no output.weight */
    has_type(file, "a.norm", "F32");
    has_type(file, "blk.0.w256.weight", "Q4_K");
    has_type(file, "blk.0.w64.weight", "Q5_0");
    has_type(file, "blk.0.w33.weight", "F16");
    has_type(file, "blk.0.attn_norm.weight", "F32");
    has_type(file, "position_embd.weight", "F32");
    has_type(file, "integers", "I32");
    has_type(file, "experts", "Q5_0");
    uint64_t number = 0;
    assert_int_equal(strata__meta_u64(file, "general.file_type", &number, NULL), STRATA_OK);
    assert_int_equal(number, 14);
    assert_int_equal(strata__meta_u64(file, "general.quantization_version", &number, NULL),
                     STRATA_OK);
    assert_int_equal(number, 2);
    struct strata__string text;
    assert_int_equal(strata__meta_string(file, "a.text", &text, NULL), STRATA_OK);
    assert_memory_equal(text.text, "kept", 4);
    assert_memory_equal(strata__file_find(file, "integers")->data, "\1\0\0\0\xfe\xff\xff\xff", 8);
    strata_file_close(&file);
    options.pure = true;
    options.rules = rules;
    options.n_rules = COUNT(rules);
    assert_int_equal(quantize(in, out, &options, 2), STRATA_OK);
    file = gguf_open(out, NULL, NULL);
    has_type(file, "token_embd.weight", "Q4_K");
    has_type(file, "blk.0.w64.weight", "Q8_0");
    has_type(file, "blk.0.attn_norm.weight", "F16");
    strata_file_close(&file);
    unlink(out);
}

static void read_all(const char *path, unsigned char *bytes, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    *size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
}

static void same_file_for_any_threads(void **state)
{
    (void)state;
    static const char *const types[] = {"f16", "bf16", "q8_0", "q4_k", "q2_k", "iq4_nl"};
    static unsigned char one[1 << 20], other[1 << 20];
    const char *in = small_file(0);
    for (size_t i = 0; i < COUNT(types); i++) {
        strata_quantize_options options = options_of(types[i]);
        size_t n, m;
        assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 1), STRATA_OK);
        read_all(gguf_path("out.gguf"), one, &n);
        assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 3), STRATA_OK);
        read_all(gguf_path("out.gguf"), other, &m);
        assert_int_equal(n, m);
        assert_memory_equal(one, other, n);
    }
    unlink(gguf_path("out.gguf"));
}

/* Two shards become one file; either name opens them, and neither may be written. */
static void shards_are_joined(void **state)
{
    (void)state;
    static const char *const names[] = {"s-00001-of-00002.gguf", "s-00002-of-00002.gguf"};
    for (uint32_t i = 0; i < 2; i++) {
        struct gguf_writer w;
        gguf_begin(&w, 3);
        gguf_key_u32(&w, "split.no", i);
        gguf_key_u32(&w, "split.count", 2);
        gguf_key_u32(&w, "split.tensors.count", 2);
        gguf_tensor(&w, i ? "b" : "a", STRATA_TYPE_F32, 2, (uint64_t[]){32, 4}, matrix + i);
        gguf_finish(&w);
        gguf_saved(&w, names[i]);
    }
    strata_quantize_options options = options_of("q8_0");
    assert_int_equal(quantize(gguf_path(names[1]), gguf_path("out.gguf"), &options, 2), STRATA_OK);
    strata_file *file = gguf_open(gguf_path("out.gguf"), NULL, NULL);
    has_type(file, "a", "Q8_0");
    has_type(file, "b", "Q8_0");
    strata_file_close(&file);
    assert_int_equal(quantize(gguf_path(names[0]), gguf_path(names[1]), &options, 2),
                     STRATA_E_INVALID);
    unlink(gguf_path("out.gguf"));
}

/* ---- what is refused ---- */

static void bad_options(void **state)
{
    (void)state;
    const char *in = small_file(0);
    strata_quantize_options options = options_of("q4_2");
    refuses(in, &options, STRATA_E_INVALID, "type \"q4_2\": must be one of F32, F16");
    options = options_of(NULL);
    refuses(in, &options, STRATA_E_INVALID, "type \"\"");
    options = options_of("q4_0");
    options.size--;
    refuses(in, &options, STRATA_E_INVALID, "size");
    options = options_of("q4_0");
    strata_quantize_rule rule = {"nothing", "Q9"};
    options.rules = &rule;
    options.n_rules = 1;
    refuses(in, &options, STRATA_E_INVALID, "type of a rule \"Q9\"");
    rule.type = "q8_0";
    refuses(in, &options, STRATA_E_INVALID, "the rule for \"nothing\" matches no tensor");
    options = options_of("q4_0");
    assert_int_equal(quantize(in, in, &options, 1), STRATA_E_INVALID);
    gguf_says(strata_last_error(), "cannot be written too");
    refuses("absent.gguf", &options, STRATA_E_IO, "absent.gguf");
    options.float_only = true;
    refuses(ENGINE_TINY, &options, STRATA_E_UNSUPPORTED, "is Q4_1 already");
    options.float_only = false;
    assert_int_equal(quantize(ENGINE_TINY, gguf_path("out.gguf"), &options, 1), STRATA_OK);
    gguf_says(said, "1 ");
    gguf_says(said, "is quantised already");
    unlink(gguf_path("out.gguf"));
}

static void bad_weights(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    strata_quantize_options options = options_of("q4_k");
    for (size_t i = 0; i < COUNT(values); i++) {
        options.type = i == 0 ? "f32" : "q4_k"; /* f32: as it is */
        refuses(small_file(values[i]), &options, STRATA_E_FORMAT, "weight\": element 259 is ");
        gguf_says(strata_last_error(), "expected a finite value");
    }
    const char *in = small_file(70000);
    assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 1), STRATA_E_UNSUPPORTED);
    gguf_says(strata_last_error(), "\"blk.0.w33.weight\": element 259 is 70000, beyond the range");
    options.type = "bf16";
    assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 1), STRATA_OK);
    unlink(gguf_path("out.gguf"));
}

/* ---- importance ---- */

struct entry {
    const char *type; /* general.type */
    const char *sums, *counts;
    uint64_t width;
    float sum, count;
    enum strata_type format;
};

static const char *imatrix_file(const struct entry *entry)
{
    struct gguf_writer w;
    static float sums[512];
    for (size_t i = 0; i < COUNT(sums); i++)
        sums[i] = (float)(i % 7) + 1;
    sums[5] = entry->sum;
    gguf_begin(&w, 3);
    gguf_key_string(&w, "general.type", entry->type);
    gguf_key_strings(&w, "imatrix.datasets", 1, (const char *const[]){"a text"});
    gguf_key_u32(&w, "imatrix.chunk_count", 3);
    gguf_tensor(&w, entry->sums, entry->format, 1, &entry->width, sums);
    if (entry->counts)
        gguf_tensor(&w, entry->counts, STRATA_TYPE_F32, 1, (uint64_t[]){1}, &entry->count);
    gguf_finish(&w);
    static char path[4096];
    snprintf(path, sizeof path, "%s", gguf_saved(&w, "imatrix.gguf"));
    return path;
}

#define W256 "blk.0.w256.weight"

static void hostile_importance(void **state)
{
    (void)state;
    static const struct {
        struct entry entry;
        strata_status status;
        const char *says;
    } cases[] = {
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, 1, 2, STRATA_TYPE_F32}, STRATA_OK, ""},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, 0, 2, STRATA_TYPE_F32}, STRATA_OK, ""},
        {{"imatrix", "other.in_sum2", "other.counts", 64, 0, 2, STRATA_TYPE_F32},
         STRATA_E_INVALID,
         "another model"},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, 0, 0, STRATA_TYPE_F32}, STRATA_OK, ""},
        {{"model", W256 ".in_sum2", W256 ".counts", 256, 1, 2, STRATA_TYPE_F32},
         STRATA_E_FORMAT,
         "\"general.type\": \"model\", expected \"imatrix\""},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 512, 1, 2, STRATA_TYPE_F32},
         STRATA_E_FORMAT,
         "512 x 1, but the weight has 256 columns"},
        {{"imatrix", W256 ".in_sum2", NULL, 256, 1, 2, STRATA_TYPE_F32},
         STRATA_E_FORMAT,
         "there is no \"" W256 ".counts\""},
        {{"imatrix", W256, NULL, 256, 1, 2, STRATA_TYPE_F32}, STRATA_E_FORMAT, "expected a name"},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, 1, 2, STRATA_TYPE_F16},
         STRATA_E_FORMAT,
         "type F16, expected F32"},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, -1, 2, STRATA_TYPE_F32},
         STRATA_E_FORMAT,
         "column 5 is -1"},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, NAN, 2, STRATA_TYPE_F32},
         STRATA_E_FORMAT,
         "column 5 is "},
        {{"imatrix", W256 ".in_sum2", W256 ".counts", 256, 1, INFINITY, STRATA_TYPE_F32},
         STRATA_E_FORMAT,
         "inf tokens"},
    };
    const char *in = small_file(0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        strata_quantize_options options = options_of("q4_0");
        options.imatrix = imatrix_file(&cases[i].entry);
        if (cases[i].status == STRATA_OK) {
            assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 2), STRATA_OK);
            strata_file *file = gguf_open(gguf_path("out.gguf"), NULL, NULL);
            uint64_t number;
            assert_int_equal(
                strata__meta_u64(file, "quantize.imatrix.entries_count", &number, NULL), STRATA_OK);
            assert_int_equal(number, 1);
            strata_file_close(&file);
            unlink(gguf_path("out.gguf"));
        } else {
            refuses(in, &options, cases[i].status, cases[i].says);
        }
    }
}

/* The weights of important columns come out better than without. */
static double column_error(const char *path, size_t column)
{
    strata_file *file = gguf_open(path, NULL, NULL);
    const struct strata__tensor *tensor = strata__file_find(file, W256);
    struct strata_kernels kernels;
    strata_kernels_select(&kernels, STRATA_LEVEL_ref);
    double sum = 0;
    for (size_t r = 0; r < tensor->rows; r++) {
        float row[256];
        kernels.dequantize[tensor->type](row, (const char *)tensor->data + r * tensor->row_bytes,
                                         256);
        sum += fabs((double)row[column] - (double)matrix[r * 256 + column]);
    }
    strata_file_close(&file);
    return sum;
}

static void importance_has_effect(void **state)
{
    (void)state;
    struct entry entry = {"imatrix", W256 ".in_sum2", W256 ".counts", 256, 1e4f,
                          2,         STRATA_TYPE_F32};
    strata_quantize_options options = options_of("q4_0");
    const char *in = small_file(0);
    assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 2), STRATA_OK);
    double plain = column_error(gguf_path("out.gguf"), 5);
    options.imatrix = imatrix_file(&entry);
    assert_int_equal(quantize(in, gguf_path("out.gguf"), &options, 2), STRATA_OK);
    assert_true(column_error(gguf_path("out.gguf"), 5) < plain / 2);
    unlink(gguf_path("out.gguf"));
}

/* What strata_imatrix sums, for the first layer, is computed again from the embedding. */
static void collects_squares(void **state)
{
    (void)state;
    struct engine engine = engine_open_tiny_f32();
    strata_imatrix_options options;
    strata_imatrix_options_default(&options);
    options.window = 16;
    options.dataset = "words";
    char text[200];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 5 ? (char)('a' + i * i % 26) : ' ';
    char out[4096];
    snprintf(out, sizeof out, "%s", gguf_path("imatrix.gguf"));
    if (strata_imatrix(engine.session, text, sizeof text, out, &options, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata_file *file = gguf_open(out, NULL, NULL);
    uint64_t chunks = 0, window = 0;
    assert_int_equal(strata__meta_u64(file, "imatrix.chunk_count", &chunks, NULL), STRATA_OK);
    assert_int_equal(strata__meta_u64(file, "imatrix.chunk_size", &window, NULL), STRATA_OK);
    assert_true(chunks > 0);
    assert_int_equal(window, 16);
    strata_file *model = gguf_open(ENGINE_TINY, NULL, NULL);
    unsigned matrices = 0;
    for (size_t i = 0; i < strata_file_tensor_count(model); i++) {
        strata_tensor_info weight = strata_file_tensor(model, i);
        char name[128];
        if (weight.n_dims != 2 || strstr(weight.name, "token_embd"))
            continue;
        snprintf(name, sizeof name, "%s.in_sum2", weight.name);
        const struct strata__tensor *sums = strata__file_find(file, name);
        snprintf(name, sizeof name, "%s.counts", weight.name);
        const struct strata__tensor *counts = strata__file_find(file, name);
        if (!sums || !counts)
            fail_msg("%s has no entry", weight.name);
        assert_int_equal(sums->shape[0], weight.shape[0]);
        assert_true(((const float *)counts->data)[0] == (float)(chunks * 16));
        matrices++;
    }
    assert_true(matrices > 2);
    /* attn_q reads an RMS-normed row times the norm's weight: squares without it sum to the width.
     */
    const float *sums = strata__file_find(file, "blk.0.attn_q.weight.in_sum2")->data;
    const struct strata__tensor *norm = strata__file_find(model, "blk.0.attn_norm.weight");
    double total = 0;
    for (uint64_t c = 0; c < norm->shape[0]; c++) {
        double w = (double)((const float *)norm->data)[c];
        total += (double)sums[c] / (w * w);
    }
    assert_true(fabs(total / ((double)(chunks * 16 * norm->shape[0])) - 1) < 1e-2);
    strata_file_close(&model);
    strata_file_close(&file);

    options.window = 1;
    assert_int_equal(strata_imatrix(engine.session, text, 8, out, &options, NULL, NULL),
                     STRATA_E_INVALID);
    options.window = 64;
    assert_int_equal(strata_imatrix(engine.session, "a", 1, out, &options, NULL, NULL),
                     STRATA_E_INVALID);
    gguf_says(strata_last_error(), "a window takes");
    engine_close(&engine);
    unlink(out);
}

/* ---- interruption and failing systems ---- */

static bool stop_at(void *user, const char *what, uint64_t done, uint64_t total)
{
    size_t *left = user;
    assert_non_null(what);
    assert_true(done < total);
    return (*left)-- > 0;
}

static void progress_stops_it(void **state)
{
    (void)state;
    const char *in = small_file(0);
    char out[4096];
    snprintf(out, sizeof out, "%s", gguf_path("out.gguf"));
    strata_runtime *runtime = open_runtime(2);
    strata_quantize_options options = options_of("q4_0");
    for (size_t calls = 0; calls < 3; calls++) {
        unsigned before = entries_of_folder();
        size_t left = calls;
        strata_quantize_result result;
        assert_int_equal(strata_quantize(runtime, in, out, &options, stop_at, &left, &result),
                         STRATA_E_CANCELLED);
        assert_int_equal(result.tensors, 0);
        assert_int_equal(entries_of_folder(), before);
    }
    strata_runtime_close(&runtime);
    struct engine engine = engine_open_tiny_f32();
    char text[400];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof text; i += 3)
        text[i] = ' ';
    strata_imatrix_options how;
    strata_imatrix_options_default(&how);
    how.window = 16;
    size_t left = 1;
    assert_int_equal(strata_imatrix(engine.session, text, sizeof text, out, &how, stop_at, &left),
                     STRATA_E_CANCELLED);
    strata_session_cancel(engine.session);
    assert_int_equal(strata_imatrix(engine.session, text, sizeof text, out, &how, NULL, NULL),
                     STRATA_E_CANCELLED);
    assert_int_equal(access(out, F_OK), -1);
    engine_close(&engine);
}

static void every_fault_leaves_nothing(void **state)
{
    (void)state;
    static const struct {
        enum fault_call call;
        int error;
        strata_status status;
    } faults[] = {
        {FAULT_MEMORY, ENOMEM, STRATA_E_NOMEM}, {FAULT_OPEN, EMFILE, STRATA_E_IO},
        {FAULT_PWRITE, ENOSPC, STRATA_E_IO},    {FAULT_RENAME, EIO, STRATA_E_IO},
        {FAULT_MMAP, ENOMEM, STRATA_E_IO},
    };
    struct entry entry = {"imatrix", W256 ".in_sum2", W256 ".counts", 256, 1, 2, STRATA_TYPE_F32};
    const char *in = small_file(0), *imatrix = imatrix_file(&entry);
    char out[4096];
    snprintf(out, sizeof out, "%s", gguf_path("out.gguf"));
    strata_quantize_options options = options_of("q4_0");
    options.imatrix = imatrix;
    strata_runtime *runtime = open_runtime(2);
    for (size_t i = 0; i < COUNT(faults); i++) {
        fault_reset();
        assert_int_equal(strata_quantize(runtime, in, out, &options, NULL, NULL, NULL), STRATA_OK);
        size_t n = fault_count(faults[i].call);
        assert_true(n > 0);
        unlink(out);
        unsigned before = entries_of_folder();
        long mappings = fault_mappings();
        for (size_t k = 1; k <= n; k++) {
            fault_arm(faults[i].call, k, true, faults[i].error);
            strata_status status = strata_quantize(runtime, in, out, &options, NULL, NULL, NULL);
            fault_reset();
            if (status != faults[i].status)
                fail_msg("fault %zu, call %zu: status %d (%s)", i, k, (int)status,
                         strata_last_error());
            assert_int_equal(entries_of_folder(), before);
            assert_int_equal(fault_mappings(), mappings);
        }
    }
    strata_runtime_close(&runtime);
}

/* A limit of the file's size stands in for a full disk. */
static void full_disk(void **state)
{
    (void)state;
    const char *in = small_file(0);
    strata_quantize_options options = options_of("q4_0");
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 0; bytes < 10000; bytes += 3333) {
        limit = (struct rlimit){bytes, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        refuses(in, &options, STRATA_E_IO, strerror(EFBIG));
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_of_types),
        cmocka_unit_test(same_file_for_any_threads),
        cmocka_unit_test(shards_are_joined),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(bad_weights),
        cmocka_unit_test(hostile_importance),
        cmocka_unit_test(importance_has_effect),
        cmocka_unit_test(collects_squares),
        cmocka_unit_test(progress_stops_it),
        cmocka_unit_test(every_fault_leaves_nothing),
        cmocka_unit_test(full_disk),
    };
    gguf_folder_create();
    snprintf(folder, sizeof folder, "%s", gguf_path(""));
    int failed = cmocka_run_group_tests_name("quantising models", tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
