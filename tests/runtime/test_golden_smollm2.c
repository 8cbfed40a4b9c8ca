/* SmolLM2-135M-Instruct against float64 logits (golden/smollm2-135m): last-position logits, argmax
 * after every prompt token, greedy text, perplexity, at every level of this host. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "golden_data.h"

#define DIR STRATA_SHARED "/golden/smollm2-135m"

/* golden/README.md: float activations with a float16 KV cache; 8-bit activations. */
#define F32_MAX 0.1
#define F32_RMS 0.015
#define Q8_RMS_TIMES_PEER 1.1
#define Q8_ARGMAX_MARGIN 1.0
#define Q8_PERPLEXITY 0.01
#define F32_PERPLEXITY 1e-4

/* The reference level computes some ten tokens a second: few greedy steps, and longer prompts only
 * where a mean over all of them is asked for (q8). */
#define REF_GREEDY_STEPS 2
#define REF_F32_TOKENS 40

struct golden {
    json_t *prompts;
    struct npy ids, logits, peer, argmax, margin;
};

static const char *model_or_skip(void)
{
    const char *path = known_model("smollm2-135m");
    if (!path) {
        print_message("skipped: model smollm2-135m is not there (run ./tools/fetch-models)\n");
        skip();
    }
    return path;
}

static struct golden golden_or_skip(void)
{
    struct golden g = {.prompts = json_lines_read(DIR, "prompts.jsonl")};
    if (!g.prompts) {
        print_message("skipped: no reference data (" DIR ")\n");
        skip();
    }
    g.ids = npy_read(DIR, "fixed_ids.npy");
    g.logits = npy_read(DIR, "fixed_logits.npy");
    g.peer = npy_read(DIR, "fixed_logits_llama_cpp.npy");
    g.argmax = npy_read(DIR, "prompt_argmax.npy");
    g.margin = npy_read(DIR, "prompt_margin.npy");
    return g;
}

static void golden_free(struct golden *g)
{
    json_decref(g->prompts);
    npy_free(&g->ids);
    npy_free(&g->logits);
    npy_free(&g->peer);
    npy_free(&g->argmax);
    npy_free(&g->margin);
}

static size_t argmax_of(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Argmax after every prompt token wherever the margin decides it. */
static void check_argmax(const struct golden *g, size_t prompt, size_t n, strata_session *session,
                         size_t vocab, double margin)
{
    for (size_t t = 0; t < n; t++) {
        if (!(g->margin.f[prompt * g->margin.cols + t] > margin))
            continue;
        size_t got = argmax_of(strata_session_logits(session, t), vocab);
        int32_t wanted = g->argmax.i[prompt * g->argmax.cols + t];
        if ((int32_t)got != wanted)
            fail_msg("prompt %zu token %zu: argmax %zu, expected %d", prompt, t, got, wanted);
    }
}

/* Greedy text while the margin is above `margin`; the logits of the prompt are in the session. */
static void check_greedy(const json_t *prompt, strata_session *session, size_t vocab,
                         const float *logits, double margin, size_t limit)
{
    size_t steps;
    int32_t *ids = json_ids(json_object_get(prompt, "greedy_ids"), &steps);
    const json_t *margins = json_object_get(prompt, "greedy_margin");
    for (size_t i = 0; i < steps && i < limit; i++) {
        if (json_number_value(json_array_get(margins, i)) <= margin)
            break;
        assert_int_equal(argmax_of(logits, vocab), ids[i]);
        assert_int_equal(strata_session_eval(session, &ids[i], 1, STRATA_LOGITS_LAST), STRATA_OK);
        logits = strata_session_logits(session, 0);
    }
    free(ids);
}

/* All prompts at one level; *rms and *peer_rms are means over the prompts. */
static void check_prompts(const struct golden *g, struct engine_options options, double *rms,
                          double *peer_rms, double *max)
{
    struct engine engine = engine_open(model_or_skip(), options);
    size_t vocab = strata_model_info_get(engine.model).vocab, n_fixed = g->ids.cols;
    size_t n_prompts = json_array_size(g->prompts), used = 0;
    bool f32 = options.compute == STRATA_COMPUTE_F32, slow = strcmp(options.level, "ref") == 0;
    float *picked = malloc(n_fixed * sizeof *picked);
    *rms = *peer_rms = *max = 0;
    for (size_t p = 0; p < n_prompts; p++) {
        const json_t *prompt = json_array_get(g->prompts, p);
        size_t n;
        int32_t *ids = json_ids(json_object_get(prompt, "ids"), &n);
        if (slow && f32 && n > REF_F32_TOKENS) {
            free(ids);
            continue;
        }
        assert_int_equal(strata_session_truncate(engine.session, 0), STRATA_OK);
        assert_int_equal(strata_session_eval(engine.session, ids, n, STRATA_LOGITS_ALL), STRATA_OK);
        const float *logits = strata_session_logits(engine.session, n - 1);
        for (size_t i = 0; i < n_fixed; i++)
            picked[i] = logits[g->ids.i[i]];
        struct difference d = difference_of(picked, g->logits.f + p * n_fixed, n_fixed);
        struct difference peer =
            difference_of(g->peer.f + p * n_fixed, g->logits.f + p * n_fixed, n_fixed);
        *rms += d.rms;
        *peer_rms += peer.rms;
        *max = d.max > *max ? d.max : *max;
        used++;
        if (f32 && (d.rms > F32_RMS || d.max > F32_MAX))
            fail_msg("prompt %zu: rms %g max %g", p, d.rms, d.max);
        double margin = f32 ? 2 * F32_MAX : Q8_ARGMAX_MARGIN;
        check_argmax(g, p, n, engine.session, vocab, margin);
        check_greedy(prompt, engine.session, vocab, logits, margin, slow ? REF_GREEDY_STEPS : 32);
        free(ids);
    }
    *rms /= (double)used;
    *peer_rms /= (double)used;
    free(picked);
    engine_close(&engine);
}

static void logits_match(void **state)
{
    (void)state;
    model_or_skip();
    struct golden g = golden_or_skip();
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    for (size_t i = 0; i < n_levels * 2; i++) {
        struct engine_options options = {
            .level = levels[i / 2],
            .compute = i & 1 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8,
            .threads = 2,
        };
        double rms, peer, max;
        check_prompts(&g, options, &rms, &peer, &max);
        print_message("%s %s: mean rms %.4f (llama.cpp q8: %.4f), max %.4f\n", options.level,
                      i & 1 ? "f32" : "q8", rms, peer, max);
        assert_true(rms <= Q8_RMS_TIMES_PEER * peer);
    }
    golden_free(&g);
}

/* -log softmax(logits)[id], in double. */
static double surprise(const float *logits, size_t n, int32_t id)
{
    double best = logits[argmax_of(logits, n)], sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - best);
    return log(sum) + best - logits[id];
}

/* Perplexity by the protocol of golden/README.md: windows of 512 ids, each from an empty cache. */
static double perplexity(strata_session *session, size_t vocab, const int32_t *ids, size_t n)
{
    enum { WINDOW = 512, STEP = 32 };
    double sum = 0;
    size_t terms = 0;
    for (size_t w = 0; w + WINDOW <= n; w += WINDOW) {
        assert_int_equal(strata_session_truncate(session, 0), STRATA_OK);
        for (size_t at = 0; at < WINDOW; at += STEP) {
            assert_int_equal(strata_session_eval(session, ids + w + at, STEP, STRATA_LOGITS_ALL),
                             STRATA_OK);
            for (size_t i = 0; i < STEP && at + i + 1 < WINDOW; i++, terms++)
                sum += surprise(strata_session_logits(session, i), vocab, ids[w + at + i + 1]);
        }
    }
    return exp(sum / (double)terms);
}

static void perplexity_matches(void **state)
{
    (void)state;
    const char *path = model_or_skip();
    json_t *texts = json_lines_read(DIR, "perplexity.jsonl"), *text;
    if (!texts) {
        print_message("skipped: no reference data (" DIR ")\n");
        skip();
    }
    size_t n_levels, index;
    const char *const *levels = host_levels(&n_levels);
    for (int f32 = 0; f32 < 2; f32++) {
        struct engine_options options = {.level = levels[n_levels - 1],
                                         .compute = f32 ? STRATA_COMPUTE_F32 : STRATA_COMPUTE_Q8,
                                         .threads = 2};
        if (strcmp(options.level, "ref") == 0)
            break;
        struct engine engine = engine_open(path, options);
        size_t vocab = strata_model_info_get(engine.model).vocab, n;
        json_array_foreach(texts, index, text)
        {
            int32_t *ids = json_ids(json_object_get(text, "ids"), &n);
            double got = perplexity(engine.session, vocab, ids, n);
            double wanted = json_number_value(json_object_get(json_object_get(text, "ref"), "ppl"));
            print_message("%s %s %s: perplexity %.4f, reference %.4f (%+.3f %%)\n", options.level,
                          f32 ? "f32" : "q8", json_string_value(json_object_get(text, "file")), got,
                          wanted, (got / wanted - 1) * 100);
            assert_true(fabs(got / wanted - 1) <= (f32 ? F32_PERPLEXITY : Q8_PERPLEXITY));
            free(ids);
        }
        engine_close(&engine);
    }
    json_decref(texts);
}

/* Logits after a prompt that spans attention tiles, and after one token more. */
static void last_logits(const char *level, int threads, float *out, size_t vocab)
{
    enum { N = 140 };
    int32_t ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = 300 + i * 37;
    struct engine engine =
        engine_open(model_or_skip(), (struct engine_options){.level = level, .threads = threads});
    int count = strcmp(level, "ref") == 0 ? 10 : N;
    assert_int_equal(strata_session_eval(engine.session, ids, count, STRATA_LOGITS_LAST), 0);
    memcpy(out, strata_session_logits(engine.session, 0), vocab * sizeof *out);
    assert_int_equal(strata_session_eval(engine.session, ids, 1, STRATA_LOGITS_LAST), 0);
    memcpy(out + vocab, strata_session_logits(engine.session, 0), vocab * sizeof *out);
    engine_close(&engine);
}

/* The same logits, bit for bit, from one, two and three threads, at every level. */
static void threads_do_not_matter(void **state)
{
    (void)state;
    model_or_skip();
    enum { VOCAB = 49152 };
    static float one[2 * VOCAB], several[2 * VOCAB];
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    for (size_t i = 0; i < n_levels; i++) {
        last_logits(levels[i], 1, one, VOCAB);
        for (int threads = 2; threads <= 3; threads++) {
            last_logits(levels[i], threads, several, VOCAB);
            assert_memory_equal(one, several, sizeof one);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_match),
        cmocka_unit_test(perplexity_matches),
        cmocka_unit_test(threads_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
