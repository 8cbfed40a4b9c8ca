/* Split GGUF files: any shard opens all, and what is missing or does not belong is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "gguf_broken.h"
#include "gguf_fixture.h"

/* FOLDER/PREFIX-0000N-of-0000COUNT.gguf, N from 1. */
static const char *shard_path(const char *prefix, unsigned n, unsigned count)
{
    char name[128];
    snprintf(name, sizeof name, "%s-%05u-of-%05u.gguf", prefix, n, count);
    return gguf_path(name);
}

static void save_shard(struct gguf_writer *w, const char *prefix, unsigned n, unsigned count)
{
    gguf_save(w, shard_path(prefix, n, count));
    gguf_free(w);
}

static void save_three(const char *prefix)
{
    for (unsigned no = 0; no < 3; no++) {
        struct gguf_writer w;
        gguf_shard(&w, no, 3, 3);
        save_shard(&w, prefix, no + 1, 3);
    }
}

/* Where key i of shard n has its value, as messages begin. */
static const char *key_place(unsigned no, unsigned count, unsigned total, size_t key,
                             const char *path)
{
    static char text[600];
    struct gguf_writer w;
    gguf_shard(&w, no, count, total);
    snprintf(text, sizeof text, "%s:%zu: key \"split.", path, gguf_key_at(&w, key).value);
    gguf_free(&w);
    return text;
}

static void any_shard_opens_all(void **state)
{
    (void)state;
    save_three("whole");
    for (unsigned n = 1; n <= 3; n++) {
        strata_file *file = gguf_open(shard_path("whole", n, 3), NULL, NULL);
        strata_file_info info = strata_file_info_get(file);
        assert_int_equal(info.shards, 3);
        assert_string_equal(info.architecture, "llama");
        assert_int_equal(info.layers, 3);
        assert_int_equal(info.parameters, 24);
        assert_int_equal(strata_file_tensor_count(file), 3);
        assert_string_equal(strata__file_path(file), shard_path("whole", 1, 3));
        for (unsigned no = 0; no < 3; no++) {
            char name[32];
            snprintf(name, sizeof name, "blk.%u.weight", no);
            const struct strata__tensor *tensor = strata__file_find(file, name);
            assert_non_null(tensor);
            assert_int_equal(tensor->shard, no);
            assert_string_equal(strata_file_tensor(file, no).name, name);
        }
        strata_file_close(&file);
    }
}

static void missing_shard(void **state)
{
    (void)state;
    save_three("missing");
    assert_int_equal(unlink(shard_path("missing", 2, 3)), 0);
    const char *message = gguf_refusal(shard_path("missing", 3, 3), STRATA_E_FORMAT);
    gguf_says(message, shard_path("missing", 2, 3));
    gguf_says(message, "missing: the model has 3 shards, this is number 2");
}

/* Shard 2 replaced by another one. */
static void replaced(const char *prefix, unsigned no, unsigned count, unsigned total, size_t key,
                     const char *says)
{
    struct gguf_writer w;
    save_three(prefix);
    gguf_shard(&w, no, count, total);
    save_shard(&w, prefix, 2, 3);
    const char *message = gguf_refusal(shard_path(prefix, 1, 3), STRATA_E_FORMAT);
    gguf_says(message, key_place(no, count, total, key, shard_path(prefix, 2, 3)));
    gguf_says(message, says);
}

static void shards_that_do_not_belong(void **state)
{
    (void)state;
    replaced("again", 2, 3, 3, 0, "split.no\": 2, expected 1");
    replaced("count", 1, 4, 3, 1, "split.count\": 4, expected 3");
    replaced("total", 1, 3, 4, 2, "split.tensors.count\": 4, expected 3");
}

static void shard_without_keys(void **state)
{
    (void)state;
    struct gguf_writer w;
    save_three("plain");
    gguf_small(&w);
    save_shard(&w, "plain", 2, 3);
    const char *message = gguf_refusal(shard_path("plain", 1, 3), STRATA_E_FORMAT);
    gguf_says(message, shard_path("plain", 2, 3));
    gguf_says(message, "expected");
    /* On its own it is a whole file. */
    strata_file *file = gguf_open(shard_path("plain", 2, 3), NULL, NULL);
    assert_int_equal(strata_file_info_get(file).shards, 1);
    strata_file_close(&file);
}

static void shard_of_another_model(void **state)
{
    (void)state;
    for (int same = 0; same < 2; same++) {
        struct gguf_writer w;
        save_three("other");
        gguf_begin(&w, 3);
        gguf_key_u32(&w, "split.no", 1);
        gguf_key_u32(&w, "split.count", 3);
        gguf_key_u32(&w, "split.tensors.count", 3);
        gguf_key_string(&w, "general.architecture", same ? "llama" : "gemma");
        gguf_tensor(&w, "blk.1.weight", STRATA_TYPE_F32, 1, (uint64_t[]){8}, NULL);
        gguf_finish(&w);
        size_t at = gguf_key_at(&w, 3).value;
        save_shard(&w, "other", 2, 3);
        if (same) {
            strata_file *file = gguf_open(shard_path("other", 1, 3), NULL, NULL);
            strata_file_close(&file);
            continue;
        }
        char begin[600];
        snprintf(begin, sizeof begin, "%s:%zu: key \"general.architecture\": shard of another",
                 shard_path("other", 2, 3), at);
        gguf_says(gguf_refusal(shard_path("other", 3, 3), STRATA_E_FORMAT), begin);
    }
}

static void tensors_in_all(void **state)
{
    (void)state;
    for (unsigned no = 0; no < 2; no++) {
        struct gguf_writer w;
        gguf_shard(&w, no, 2, 3);
        save_shard(&w, "few", no + 1, 2);
    }
    const char *message = gguf_refusal(shard_path("few", 2, 2), STRATA_E_FORMAT);
    gguf_says(message, key_place(0, 2, 3, 4, shard_path("few", 1, 2)));
    gguf_says(message, "split.tensors.count\": 3, the 2 shards have 2");
}

static void duplicate_over_shards(void **state)
{
    (void)state;
    struct gguf_writer w;
    save_three("twice");
    gguf_shard(&w, 2, 3, 3);
    size_t at = gguf_tensor_at(&w, 0).name;
    w.file.bytes[gguf_tensor_at(&w, 0).text + 4] = '0';
    save_shard(&w, "twice", 3, 3);
    char begin[600];
    snprintf(begin, sizeof begin, "%s:%zu: tensor \"blk.0.weight\": duplicate, the first is at %s:",
             shard_path("twice", 3, 3), at, shard_path("twice", 1, 3));
    gguf_says(gguf_refusal(shard_path("twice", 1, 3), STRATA_E_FORMAT), begin);
}

static void broken_companion(void **state)
{
    (void)state;
    save_three("cut");
    assert_int_equal(truncate(shard_path("cut", 2, 3), 30), 0);
    char begin[600];
    snprintf(begin, sizeof begin, "%s:8: tensor count: 1", shard_path("cut", 2, 3));
    gguf_says(gguf_refusal(shard_path("cut", 1, 3), STRATA_E_FORMAT), begin);
}

/* Tools that join shards leave split.count 0. */
static void joined_file(void **state)
{
    (void)state;
    struct gguf_writer w;
    gguf_shard(&w, 0, 0, 1);
    strata_file *file = gguf_open(gguf_saved(&w, "joined.gguf"), NULL, NULL);
    assert_int_equal(strata_file_info_get(file).shards, 1);
    strata_file_close(&file);
}

static int check_mappings(void **state)
{
    (void)state;
    return fault_mappings() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_shard_opens_all, check_mappings),
        cmocka_unit_test_teardown(missing_shard, check_mappings),
        cmocka_unit_test_teardown(shards_that_do_not_belong, check_mappings),
        cmocka_unit_test_teardown(shard_without_keys, check_mappings),
        cmocka_unit_test_teardown(shard_of_another_model, check_mappings),
        cmocka_unit_test_teardown(tensors_in_all, check_mappings),
        cmocka_unit_test_teardown(duplicate_over_shards, check_mappings),
        cmocka_unit_test_teardown(broken_companion, check_mappings),
        cmocka_unit_test_teardown(joined_file, check_mappings),
    };
    gguf_folder_create();
    int failed = cmocka_run_group_tests_name("split GGUF files", tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
