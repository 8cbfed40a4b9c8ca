/* Sentence vectors of the tiny bert model against float64 references, at every level, in floats and
 * 8 bits, with one and two threads.  Data: tests/data/tiny always, golden/tiny where it is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bert_fixture.h"
#include "golden_data.h"

#define TINY_MAX 2e-5 /* float32; golden/README.md */

struct tiny_run {
    const struct strata__sequence sequence;
    const float *wanted;
};

static void check_tiny(const struct engine *engine, bool q8, const char *what, void *context)
{
    const struct tiny_run *run = context;
    size_t n = strata_model_info_get(engine->model).embedding_length;
    float *vector = malloc(n * sizeof *vector);
    encode(engine, &run->sequence, 1, vector);
    struct difference d = difference_of(vector, run->wanted, n);
    double cosine = cosine_of(vector, run->wanted, n);
    if (q8 ? !(cosine >= Q8_COSINE) : !(d.max <= TINY_MAX))
        fail_msg("%s: max %g, cosine %g", what, d.max, cosine);
    free(vector);
}

static void check_directory(const char *dir)
{
    json_t *runs = json_lines_read(dir, "runs.jsonl"), *json;
    if (!runs) {
        print_message("skipped: no reference data (%s)\n", dir);
        skip();
    }
    size_t index, checked = 0;
    json_array_foreach(runs, index, json)
    {
        if (strcmp(json_string_value(json_object_get(json, "model")), "bert.gguf"))
            continue;
        char name[256], path[1024];
        snprintf(name, sizeof name, "bert.%s.pooled.npy",
                 json_string_value(json_object_get(json, "run")));
        snprintf(path, sizeof path, "%s/bert.gguf", dir);
        struct npy wanted = npy_read(dir, name);
        size_t n;
        int32_t *ids = json_ids(json_object_get(json, "ids"), &n);
        struct tiny_run run = {{ids, n}, wanted.f};
        for_all_engines(path, &run, check_tiny);
        free(ids);
        npy_free(&wanted);
        checked++;
    }
    json_decref(runs);
    assert_true(checked > 0);
}

static void plain_clone(void **state)
{
    (void)state;
    check_directory(STRATA_TEST_DATA "/tiny");
}

static void tiny(void **state)
{
    (void)state;
    check_directory(STRATA_SHARED "/golden/tiny");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_clone),
        cmocka_unit_test(tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
