#include "bert_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

double cosine_of(const float *a, const float *b, size_t n)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return dot / sqrt(aa * bb);
}

void encode(const struct engine *engine, const struct strata__sequence *sequences, size_t n,
            float *vectors)
{
    if (strata__encode_sequences(engine->model, sequences, n, vectors) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

static const enum strata_compute computes[] = {STRATA_COMPUTE_Q8, STRATA_COMPUTE_DYNAMIC};

void for_all_engines(const char *path, void *context, engine_fn *each)
{
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    for (size_t i = 0; i < n_levels * 4; i++) {
        struct engine_options options = {
            .level = levels[i / 4], .compute = computes[i & 1], .threads = i & 2 ? 2 : 1};
        char what[1280];
        bool q8 = options.compute == STRATA_COMPUTE_DYNAMIC;
        snprintf(what, sizeof what, "%s level %s %s threads %d", path, options.level,
                 q8 ? "dynamic" : "float", options.threads);
        struct engine engine = engine_open(path, options);
        each(&engine, q8, what, context);
        engine_close(&engine);
    }
}
