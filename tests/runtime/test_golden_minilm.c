/* Sentence vectors of all-MiniLM-L6-v2 against float64 references, at every level, in floats and 8
 * bits, alone and in batches.  Tolerances: golden/README.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bert_fixture.h"
#include "golden_data.h"

#define MINILM_MAX 2e-6 /* float32, of normalised vectors */
#define HIDDEN_MAX 5e-5 /* float32 */
#define BATCH_MAX 1e-6  /* a vector alone against the same in a batch: another order of sums */

static void normalise(float *vector, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)vector[i] * (double)vector[i];
    for (size_t i = 0; i < n; i++)
        vector[i] = (float)((double)vector[i] / sqrt(squares));
}

#define MINILM STRATA_SHARED "/golden/minilm"

struct sentences {
    struct strata__sequence *sequences;
    size_t count;
    struct npy wanted;
};

/* The reference's sentences and vectors, and the model's path; skips where one is missing. */
static struct sentences load_sentences(const char **model)
{
    json_t *lines = json_lines_read(MINILM, "sentences.jsonl"), *line;
    *model = known_model("minilm");
    if (!lines || !*model) {
        print_message("skipped: %s\n", lines ? "no model minilm (tools/fetch-models minilm)"
                                             : "no reference data (" MINILM ")");
        json_decref(lines);
        skip();
    }
    struct sentences all = {.count = json_array_size(lines)};
    all.sequences = calloc(all.count, sizeof *all.sequences);
    size_t i;
    json_array_foreach(lines, i, line)
    {
        all.sequences[i].ids = json_ids(json_object_get(line, "ids"), &all.sequences[i].count);
    }
    json_decref(lines);
    all.wanted = npy_read(MINILM, "embeddings.npy");
    assert_int_equal(all.wanted.rows, all.count);
    return all;
}

static void free_sentences(struct sentences *all)
{
    for (size_t i = 0; i < all->count; i++)
        free((void *)all->sequences[i].ids);
    free(all->sequences);
    npy_free(&all->wanted);
}

static void check_minilm(const struct engine *engine, bool q8, const char *what, void *context)
{
    const struct sentences *all = context;
    size_t n = all->wanted.cols;
    /* The reference takes minutes, and is what kernels are compared with; threads: see
     * test_golden_bert.c. */
    if (strstr(what, " ref ") || strstr(what, "threads 1"))
        return;
    float *vectors = malloc(all->count * n * sizeof *vectors);
    encode(engine, all->sequences, all->count, vectors);
    double worst = 0, least = 1;
    for (size_t i = 0; i < all->count; i++) {
        normalise(vectors + i * n, n);
        struct difference d = difference_of(vectors + i * n, all->wanted.f + i * n, n);
        double cosine = cosine_of(vectors + i * n, all->wanted.f + i * n, n);
        if (q8 ? !(cosine >= Q8_COSINE) : !(d.max <= MINILM_MAX))
            fail_msg("%s: sentence %zu: max %g, cosine %g", what, i, d.max, cosine);
        worst = fmax(worst, d.max);
        least = fmin(least, cosine);
    }
    print_message("%s: max %.2g, least cosine %.6f\n", what, worst, least);
    for (size_t i = 0; i < all->count && !q8; i += 17) { /* alone, and with others of any length */
        float *alone = malloc(n * sizeof *alone);
        encode(engine, &all->sequences[i], 1, alone);
        normalise(alone, n);
        assert_true(difference_of(alone, vectors + i * n, n).max <= BATCH_MAX);
        free(alone);
    }
    free(vectors);
}

static void minilm(void **state)
{
    (void)state;
    const char *model;
    struct sentences all = load_sentences(&model);
    for_all_engines(model, &all, check_minilm);
    free_sentences(&all);
}

/* The model cut off before layer `layer`: what would be its input is pooled. */
static void cut_model(struct strata_model *model, unsigned layer, enum strata__pooling pooling)
{
    size_t at = 0;
    while (model->steps[at].layer < layer)
        at++;
    model->steps[at].kind = STRATA__STEP_POOL;
    model->n_steps = at + 1;
    model->hp.pooling = pooling;
}

/* After the embeddings and after every layer: the first and the last token, and the mean. */
static void hidden_states(void **state)
{
    (void)state;
    const char *model;
    struct sentences all = load_sentences(&model);
    json_t *summary = json_load_file(MINILM "/summary.json", 0, NULL);
    size_t sentence = (size_t)json_integer_value(
        json_object_get(json_object_get(summary, "hidden_guitar"), "sentence"));
    struct npy hidden = npy_read(MINILM, "hidden_guitar.npy");
    size_t n = all.wanted.cols, tokens = all.sequences[sentence].count;
    assert_int_equal(hidden.rows * hidden.cols, 7 * tokens * n);
    for (unsigned layer = 7; layer-- > 0;)
        for (int pooling = STRATA__POOL_MEAN; pooling <= STRATA__POOL_LAST; pooling++) {
            struct engine engine = engine_open(model, (struct engine_options){.threads = 2});
            float vector[384], wanted[384];
            cut_model(engine.model, layer, (enum strata__pooling)pooling);
            encode(&engine, &all.sequences[sentence], 1, vector);
            for (size_t i = 0; i < n; i++) {
                const float *column = hidden.f + layer * tokens * n + i;
                double sum = 0;
                for (size_t t = 0; t < tokens; t++)
                    sum += (double)column[t * n];
                wanted[i] = pooling == STRATA__POOL_MEAN   ? (float)(sum / (double)tokens)
                            : pooling == STRATA__POOL_LAST ? column[(tokens - 1) * n]
                                                           : column[0];
            }
            struct difference d = difference_of(vector, wanted, n);
            if (!(d.max <= HIDDEN_MAX))
                fail_msg("layer %u, pooling %d: max %g", layer, pooling, d.max);
            engine_close(&engine);
        }
    npy_free(&hidden);
    json_decref(summary);
    free_sentences(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minilm),
        cmocka_unit_test(hidden_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
