/* What scoring continuations as a tree saves: one line of JSON on stdout.
 *
 *   bench_score MODEL.gguf [DEVICE [COUNT LENGTH PREFIX SHARED [REPEATS]]]
 *
 * COUNT (64) continuations of LENGTH (32) random tokens, of which SHARED (0) are the same in all,
 * after PREFIX (64): by strata_score, one after the other by strata_session_eval, and as sessions
 * of one batch by strata_batch_eval, each of which has read the prefix before.  Milliseconds are
 * medians of REPEATS (5) rounds of all three in turn, after one that does not count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "strata.h"

enum { COUNT, LENGTH, PREFIX, SHARED, REPEATS, NUMBERS };
#define MOST_REPEATS 100

struct work {
    strata_runtime *runtime;
    strata_model *model;
    size_t n[NUMBERS];
    strata_session *session, *batch[STRATA_BATCH_MAX];
    int32_t *prefix, *ids, *one; /* one: the prefix's last token and a continuation */
    strata_continuation each[STRATA_BATCH_MAX];
    float *logprobs;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

static strata_status by_score(struct work *w)
{
    return strata_score(w->session, w->each, w->n[COUNT], w->logprobs);
}

static strata_status alone(struct work *w)
{
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < w->n[COUNT] && status == STRATA_OK; i++) {
        memcpy(w->one + 1, w->each[i].ids, (w->n[LENGTH] - 1) * sizeof *w->one);
        status = strata_session_truncate(w->session, w->n[PREFIX] - 1);
        if (status == STRATA_OK)
            status = strata_session_eval(w->session, w->one, w->n[LENGTH], STRATA_LOGITS_ALL);
    }
    if (status == STRATA_OK)
        status = strata_session_truncate(w->session, w->n[PREFIX]);
    return status;
}

static strata_status in_batch(struct work *w)
{
    strata_status status = STRATA_OK;
    int32_t ids[STRATA_BATCH_MAX];
    for (size_t i = 0; i < w->n[COUNT] && status == STRATA_OK; i++)
        status = strata_session_truncate(w->batch[i], w->n[PREFIX] - 1);
    for (size_t d = 0; d < w->n[LENGTH] && status == STRATA_OK; d++) {
        for (size_t i = 0; i < w->n[COUNT]; i++)
            ids[i] = d ? w->each[i].ids[d - 1] : w->one[0];
        status = strata_batch_eval(w->batch, ids, w->n[COUNT]);
    }
    return status;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static strata_status measure(struct work *w, double median[3])
{
    static strata_status (*const ways[3])(struct work *) = {by_score, alone, in_batch};
    static double times[3][MOST_REPEATS];
    for (size_t round = 0; round <= w->n[REPEATS]; round++)
        for (size_t i = 0; i < 3; i++) {
            double began = now_ms();
            strata_status status = ways[i](w);
            if (status != STRATA_OK)
                return status;
            if (round)
                times[i][round - 1] = now_ms() - began;
        }
    for (size_t i = 0; i < 3; i++) {
        qsort(times[i], w->n[REPEATS], sizeof *times[i], by_value);
        median[i] = times[i][w->n[REPEATS] / 2];
    }
    return STRATA_OK;
}

/* Tokens that follow from their place. */
static bool make_tokens(struct work *w)
{
    size_t vocab = strata_model_info_get(w->model).vocab, n = w->n[COUNT] * w->n[LENGTH];
    w->prefix = malloc(w->n[PREFIX] * sizeof *w->prefix);
    w->ids = malloc(n * sizeof *w->ids);
    w->one = malloc(w->n[LENGTH] * sizeof *w->one);
    w->logprobs = malloc(n * sizeof *w->logprobs);
    if (!w->prefix || !w->ids || !w->one || !w->logprobs)
        return false;
    for (size_t i = 0; i < w->n[PREFIX]; i++)
        w->prefix[i] = (int32_t)((i * 7919 + 17) % vocab);
    for (size_t i = 0; i < n; i++) {
        size_t d = i % w->n[LENGTH];
        w->ids[i] = (int32_t)((d < w->n[SHARED] ? d * 31 + 5 : i * 104729 + 3) % vocab);
    }
    for (size_t i = 0; i < w->n[COUNT]; i++)
        w->each[i] = (strata_continuation){w->ids + i * w->n[LENGTH], w->n[LENGTH]};
    w->one[0] = w->prefix[w->n[PREFIX] - 1];
    return true;
}

static strata_status open_session(struct work *w, size_t context, size_t tokens,
                                  strata_session **out)
{
    strata_session_options options;
    strata_session_options_default(&options);
    size_t most = strata_model_info_get(w->model).context_length;
    options.context = (unsigned)(context < most ? context : most);
    strata_status status = strata_session_open(w->model, &options, out);
    if (status == STRATA_OK && tokens)
        status = strata_session_eval(*out, w->prefix, tokens, STRATA_LOGITS_NONE);
    return status;
}

static strata_status open_all(struct work *w, const char *path, const char *device)
{
    strata_config config;
    strata_config_default(&config);
    config.device = device;
    strata_status status = strata_runtime_open(&w->runtime, &config);
    if (status == STRATA_OK)
        status = strata_model_load(w->runtime, path, NULL, &w->model);
    if (status == STRATA_OK && !make_tokens(w))
        status = STRATA_E_NOMEM;
    size_t once = w->n[PREFIX] + w->n[LENGTH], all = once + w->n[COUNT] * w->n[LENGTH];
    if (status == STRATA_OK)
        status = open_session(w, all, w->n[PREFIX], &w->session);
    for (size_t i = 0; i < w->n[COUNT] && status == STRATA_OK; i++)
        status = open_session(w, once, w->n[PREFIX] - 1, &w->batch[i]);
    return status;
}

static void close_all(struct work *w)
{
    strata_session_close(&w->session);
    for (size_t i = 0; i < STRATA_BATCH_MAX; i++)
        strata_session_close(&w->batch[i]);
    free(w->prefix);
    free(w->ids);
    free(w->one);
    free(w->logprobs);
    strata_model_unref(&w->model);
    strata_runtime_close(&w->runtime);
}

static bool read_numbers(struct work *w, int argc, char **argv)
{
    static const size_t most[NUMBERS] = {STRATA_BATCH_MAX, 1000, 100000, 1000, MOST_REPEATS};
    bool good = argc >= 2 && argc <= 3 + NUMBERS && (argc <= 3 || argc >= 7);
    for (int i = 0; good && i < argc - 3; i++) {
        char *end;
        w->n[i] = strtoul(argv[3 + i], &end, 10);
        good = *end == 0 && end != argv[3 + i] && w->n[i] <= most[i] && (i == SHARED || w->n[i]);
    }
    return good && w->n[SHARED] <= w->n[LENGTH];
}

int main(int argc, char **argv)
{
    struct work w = {.n = {64, 32, 64, 0, 5}};
    double ms[3];
    if (!read_numbers(&w, argc, argv)) {
        fprintf(stderr,
                "usage: bench_score MODEL.gguf [DEVICE [COUNT (1 to %d) LENGTH PREFIX "
                "SHARED [REPEATS]]]\n",
                STRATA_BATCH_MAX);
        return 2;
    }
    strata_status status = open_all(&w, argv[1], argc > 2 ? argv[2] : "auto");
    if (status == STRATA_OK)
        status = measure(&w, ms);
    if (status == STRATA_OK)
        printf("{\"continuations\": %zu, \"length\": %zu, \"prefix\": %zu, \"shared\": %zu, "
               "\"score_ms\": %.3f, \"alone_ms\": %.3f, \"batch_ms\": %.3f, "
               "\"alone_by_score\": %.2f, \"batch_by_score\": %.2f}\n",
               w.n[COUNT], w.n[LENGTH], w.n[PREFIX], w.n[SHARED], ms[0], ms[1], ms[2],
               ms[1] / ms[0], ms[2] / ms[0]);
    else
        fprintf(stderr, "bench_score: %s\n", strata_last_error());
    close_all(&w);
    return status != STRATA_OK;
}
