/* Sampling: greedy, filters, penalty, seeds; expectations worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "draw.h"
#include "sampler.h"

static struct strata_kernels kernels;

static strata_generate_options options_with(float temperature)
{
    strata_generate_options options;
    strata_generate_options_default(&options);
    options.temperature = temperature;
    return options;
}

/* How often each of n tokens comes in `draws` draws. */
static void count_draws(const strata_generate_options *options, const float *logits, size_t n,
                        unsigned draws, unsigned *counts)
{
    struct strata__sampler sampler;
    assert_int_equal(strata__sampler_open(&sampler, options, &kernels, n), STRATA_OK);
    for (size_t i = 0; i < n; i++)
        counts[i] = 0;
    for (unsigned i = 0; i < draws; i++)
        counts[strata__sampler_next(&sampler, logits, NULL, 0)]++;
    strata__sampler_close(&sampler);
}

static void greedy_takes_the_best(void **state)
{
    (void)state;
    const float logits[] = {1, 5, 5, 2};
    unsigned counts[4];
    strata_generate_options options = options_with(0);
    count_draws(&options, logits, 4, 10, counts);
    assert_int_equal(counts[1], 10);
}

static void draws_follow_the_probabilities(void **state)
{
    (void)state;
    const float logits[] = {0, logf(2), logf(5), -INFINITY};
    unsigned counts[4], draws = 80000;
    strata_generate_options options = options_with(1);
    count_draws(&options, logits, 4, draws, counts);
    const double wanted[] = {1 / 8.0, 2 / 8.0, 5 / 8.0, 0};
    for (int i = 0; i < 4; i++) /* five standard deviations */
        assert_true(fabs(counts[i] - wanted[i] * draws) <=
                    5 * sqrt(draws * wanted[i] * (1 - wanted[i])));
    /* Temperature 1/2 squares the odds: 1 : 4 : 25. */
    options.temperature = 0.5f;
    count_draws(&options, logits, 4, draws, counts);
    assert_true(fabs(counts[1] - draws * 4 / 30.0) <= 5 * sqrt(draws * 4 / 30.0));
}

static void filters_cut(void **state)
{
    (void)state;
    const float logits[] = {logf(1), logf(2), logf(4), logf(8), logf(5)};
    unsigned counts[5];
    strata_generate_options options = options_with(1);
    options.top_k = 2;
    count_draws(&options, logits, 5, 2000, counts);
    assert_true(counts[3] > 0 && counts[4] > 0);
    assert_int_equal(counts[3] + counts[4], 2000);
    options.top_k = 0;
    options.top_p = 0.8f; /* 8 + 5 = 13 of 20 is too little, 17 of 20 enough */
    count_draws(&options, logits, 5, 2000, counts);
    assert_true(counts[2] > 0);
    assert_int_equal(counts[2] + counts[3] + counts[4], 2000);
    options.top_p = 1;
    options.min_p = 0.55f; /* at least 4.4 / 8 of the best */
    count_draws(&options, logits, 5, 2000, counts);
    assert_int_equal(counts[3] + counts[4], 2000);
    options.top_p = 1e-6f; /* one is always kept */
    count_draws(&options, logits, 5, 50, counts);
    assert_int_equal(counts[3], 50);
}

/* Logits whose weights are 8, 5, 4, 2 and 1, of 20; and what is drawn. */
static void random_numbers_decide(void **state)
{
    (void)state;
    const float logits[] = {logf(1), logf(8), logf(4), logf(5), logf(2)};
    const int32_t ids[] = {1, 3, 2, 4, 0};
    static const struct {
        float temperature, top_p, min_p;
        double random;
        size_t wanted;
    } cases[] = {
        {1, 1, 0, 0, 0},          {1, 1, 0, 0.39, 0},       {1, 1, 0, 0.41, 1}, {1, 1, 0, 0.64, 1},
        {1, 1, 0, 0.66, 2},       {1, 1, 0, 0.86, 3},       {1, 1, 0, 0.96, 4}, {1, 1, 0, 0.999, 4},
        {0, 1, 0, 0.999, 0},      {1, 0.6f, 0, 0.999, 1}, /* 13 of 20 are enough */
        {1, 0.6f, 0, 0.61, 0},                            /* 8 of these 13 */
        {1, 1, 0.45f, 0.999, 2},                          /* 4 of 8, but not 2 */
        {0.5f, 0.6f, 0, 0.71, 0}, /* then 64 of 89: the filters know no temperature */
        {0.5f, 0.6f, 0, 0.73, 1}, {1e-45f, 1, 0, 0.999, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(strata_draw_ref(logits, ids, 5, cases[i].temperature, cases[i].top_p,
                                         cases[i].min_p, cases[i].random),
                         cases[i].wanted);
}

/* Top-p over a large, nearly flat distribution must look beyond the first sorted candidates. */
static void wide_top_p(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float logits[N];
    static unsigned counts[N];
    for (int i = 0; i < N; i++)
        logits[i] = (float)i * -1e-4f;
    strata_generate_options options = options_with(1);
    options.top_p = 0.5f;
    count_draws(&options, logits, N, 1000, counts);
    unsigned beyond_first = 0, beyond_half = 0;
    for (int i = 256; i < N; i++)
        beyond_first += counts[i];
    /* Half of the mass is at i = 2191: exp(-1e-4 i) sums to half there. */
    for (int i = 2192; i < N; i++)
        beyond_half += counts[i];
    assert_true(beyond_first > 500);
    assert_int_equal(beyond_half, 0);
}

static void penalty_moves_away(void **state)
{
    (void)state;
    const float logits[] = {3, 2.5f, -1, -1.2f};
    strata_generate_options options = options_with(0);
    options.repeat_penalty = 1.5f;
    struct strata__sampler sampler;
    assert_int_equal(strata__sampler_open(&sampler, &options, &kernels, 4), STRATA_OK);
    const int32_t recent[] = {0, 0, 0}; /* counts once: 3 / 1.5 = 2 < 2.5 */
    assert_int_equal(strata__sampler_next(&sampler, logits, recent, 3), 1);
    const float negative[] = {-1, -1.4f};
    sampler.vocab = 2; /* -1 * 1.5 = -1.5 < -1.4 */
    assert_int_equal(strata__sampler_next(&sampler, negative, recent, 1), 1);
    strata__sampler_close(&sampler);
}

static void seeds_repeat(void **state)
{
    (void)state;
    float logits[100] = {0};
    strata_generate_options options = options_with(1);
    int32_t first[50];
    unsigned differ = 0;
    for (int round = 0; round < 3; round++) {
        options.seed = round == 2 ? 43 : 42;
        struct strata__sampler sampler;
        assert_int_equal(strata__sampler_open(&sampler, &options, &kernels, 100), STRATA_OK);
        for (int i = 0; i < 50; i++) {
            int32_t id = strata__sampler_next(&sampler, logits, NULL, 0);
            if (round == 0)
                first[i] = id;
            else if (round == 1)
                assert_int_equal(id, first[i]);
            else
                differ += id != first[i];
        }
        strata__sampler_close(&sampler);
    }
    assert_true(differ > 25);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        float value;
        const char *name;
    } cases[] = {
        {offsetof(strata_generate_options, temperature), -1, "temperature"},
        {offsetof(strata_generate_options, temperature), NAN, "temperature"},
        {offsetof(strata_generate_options, top_p), 0, "top_p"},
        {offsetof(strata_generate_options, top_p), 1.5f, "top_p"},
        {offsetof(strata_generate_options, min_p), -0.1f, "min_p"},
        {offsetof(strata_generate_options, repeat_penalty), 0, "repeat_penalty"},
        {offsetof(strata_generate_options, repeat_penalty), INFINITY, "repeat_penalty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strata_generate_options options = options_with(1);
        *(float *)((char *)&options + cases[i].offset) = cases[i].value;
        struct strata__sampler sampler;
        assert_int_equal(strata__sampler_open(&sampler, &options, &kernels, 4), STRATA_E_INVALID);
        assert_non_null(strstr(strata_last_error(), cases[i].name));
    }
}

/* From candidates alone the token is that of all logits, draw by draw, also where the penalty puts
 * them in another order and logits are equal. */
static void candidates_are_enough(void **state)
{
    (void)state;
    enum { N = 700 };
    float logits[N];
    unsigned random = 1, tried = 0;
    for (unsigned i = 0; i < 400; i++) {
        int32_t best[STRATA_CANDIDATES_MAX], recent[64];
        strata_candidate candidates[STRATA_CANDIDATES_MAX];
        for (unsigned t = 0; t < N; t++) {
            random = random * 1664525u + 1013904223u;
            logits[t] = (float)((int)(random >> 20) - 2048) / (i % 2 ? 256 : 1);
            if (i % 3 == 0)
                logits[t] = floorf(logits[t] / 512);
        }
        strata_generate_options options = options_with(i % 4 ? 0.8f : 0);
        options.top_k = i % 5 ? 1 + random % 190 : 0;
        options.top_p = i % 7 ? 1 : 0.7f;
        options.min_p = i % 11 ? 0 : 0.01f;
        options.repeat_penalty = i % 6 < 2 ? 1.0f + 0.1f * (float)(i % 6) : 1.5f;
        options.seed = i;
        struct strata__sampler all, few;
        assert_int_equal(strata__sampler_open(&all, &options, &kernels, N), STRATA_OK);
        assert_int_equal(strata__sampler_open(&few, &options, &kernels, N), STRATA_OK);
        size_t n = strata__sampler_wants(&few);
        kernels.top_k(best, logits, N, n ? n : 1);
        for (size_t c = 0; c < n; c++)
            candidates[c] = (strata_candidate){best[c], logits[best[c]]};
        for (unsigned r = 0; r < 64; r++) /* some of the best, some of all */
            recent[r] = r % 2 && n ? best[(r * 7 + i) % n] : (int32_t)((r * 131 + i) % N);
        for (int draw = 0; n && draw < 20; draw++, tried++)
            assert_int_equal(strata__sampler_choose(&few, candidates, n, recent, 64),
                             strata__sampler_next(&all, logits, recent, 64));
        strata__sampler_close(&all);
        strata__sampler_close(&few);
    }
    assert_true(tried > 3000);
}

/* How many are wanted, and where all are. */
static void what_is_wanted(void **state)
{
    (void)state;
    static const struct {
        float temperature;
        unsigned top_k;
        float penalty;
        unsigned window;
        size_t wanted;
    } cases[] = {{0, 0, 1, 64, 1},     {0, 0, 1.1f, 64, 65},  {0, 0, 0.9f, 64, 0},
                 {0, 0, 1.1f, 256, 0}, {1, 0, 1, 64, 0},      {1, 40, 1, 64, 40},
                 {1, 256, 1, 64, 256}, {1, 257, 1, 64, 0},    {1, 192, 1.1f, 64, 256},
                 {1, 999, 1, 64, 0},   {1, 193, 1.1f, 64, 0}, {0, 999, 1, 64, 1},
                 {1, 40, 1.1f, ~0u, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        strata_generate_options options = options_with(cases[i].temperature);
        struct strata__sampler sampler;
        options.top_k = cases[i].top_k;
        options.repeat_penalty = cases[i].penalty;
        options.repeat_window = cases[i].window;
        assert_int_equal(strata__sampler_open(&sampler, &options, &kernels, 999), STRATA_OK);
        assert_int_equal(strata__sampler_wants(&sampler), cases[i].wanted);
        bool draws = cases[i].temperature != 0 && cases[i].penalty == 1 && cases[i].wanted;
        assert_int_equal(strata__sampler_draws(&sampler), draws);
        strata__sampler_close(&sampler);
    }
}

int main(void)
{
    strata_kernels_select(&kernels, STRATA_LEVEL_ref);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_best), cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(filters_cut),           cmocka_unit_test(wide_top_p),
        cmocka_unit_test(penalty_moves_away),    cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(bad_options_are_named), cmocka_unit_test(candidates_are_enough),
        cmocka_unit_test(what_is_wanted),        cmocka_unit_test(random_numbers_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
