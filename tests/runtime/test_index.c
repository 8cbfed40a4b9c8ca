/* Indexes of vectors: what they find against sums in double, changes against a model, threads. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "index_fixture.h"

/* ---- Searching ---- */

/* Inner product of the stored vector with the query as the metric takes it. */
static double exact_score(strata_index *index, uint64_t id, const float *query, double *size)
{
    strata_index_info info = strata_index_info_get(index);
    float *stored = malloc(info.dimension * sizeof *stored);
    double sum = 0, squares = 0;
    assert_int_equal(strata_index_vector(index, id, stored), STRATA_OK);
    *size = 0;
    for (size_t i = 0; i < info.dimension; i++) {
        sum += (double)stored[i] * (double)query[i];
        *size += fabs((double)stored[i]);
        squares += (double)query[i] * (double)query[i];
    }
    free(stored);
    return info.metric == STRATA_INDEX_COSINE && squares > 0 ? sum / sqrt(squares) : sum;
}

/* Scores are right, in order, and no vector that was not found is better than the last. */
static void check_found(strata_index *index, const float *query, const uint64_t *all, size_t n,
                        const uint64_t *ids, const float *scores, size_t found)
{
    for (size_t i = 0; i < found; i++) {
        double size, exact = exact_score(index, ids[i], query, &size);
        assert_true(fabs(exact - (double)scores[i]) <= 4e-5 * (size + 1));
        if (i > 0)
            assert_true(scores[i - 1] > scores[i] ||
                        (scores[i - 1] == scores[i] && ids[i - 1] < ids[i]));
    }
    for (size_t i = 0; i < n; i++) {
        bool is_found = false;
        for (size_t f = 0; f < found; f++)
            is_found = is_found || ids[f] == all[i];
        double size, exact = exact_score(index, all[i], query, &size);
        assert_true(is_found || exact <= (double)scores[found - 1] + 4e-5 * (size + 1));
    }
}

static void finds_the_best(void **state)
{
    static const size_t dimensions[] = {1, 3, 17, 384};
    (void)state;
    for (size_t c = 0; c < 24; c++) {
        size_t n = 1200, d = dimensions[c % 4], k = 10, found;
        strata_index *index = make(d, (strata_index_type)(c / 8), (strata_index_metric)(c / 4 % 2));
        float *x = vectors(n, d), *queries = vectors(11, d), scores[11 * 10];
        uint64_t *all = ids_of(n), ids[11 * 10];
        assert_int_equal(strata_index_add(index, all, x, n), STRATA_OK);
        assert_int_equal(strata_index_search(index, queries, 11, k, ids, scores, &found),
                         STRATA_OK);
        assert_int_equal(found, k);
        for (size_t q = 0; q < 11; q++)
            check_found(index, queries + q * d, all, n, ids + q * k, scores + q * k, found);
        strata_index_close(&index);
        free(x);
        free(queries);
        free(all);
    }
}

/* The same bits at every level, for any number of threads and queries. */
static void results_do_not_depend_on_the_host(void **state)
{
    enum { N = 5000, D = 100, Q = 9, K = 50 };
    static const char *const levels[] = {"ref", NULL};
    static uint64_t ids[Q * K], wanted_ids[Q * K];
    static float scores[Q * K], wanted[Q * K];
    strata_runtime *usual = runtime;
    (void)state;
    for (int type = 0; type < 3; type++) {
        float *x = vectors(N, D);
        uint64_t *all = ids_of(N);
        for (int way = 0; way < 6; way++) {
            size_t found, step = way % 3 == 0 ? Q : way % 3 == 1 ? 1 : 2;
            runtime = open_runtime(1 + way % 3, levels[way / 3]);
            strata_index *index = make(D, (strata_index_type)type, STRATA_INDEX_DOT);
            assert_int_equal(strata_index_add(index, all, x, N), STRATA_OK);
            for (size_t q = 0; q < Q; q += step)
                assert_int_equal(strata_index_search(index, x + q * D, Q - q < step ? Q - q : step,
                                                     K, ids + q * K, scores + q * K, &found),
                                 STRATA_OK);
            if (way == 0) {
                memcpy(wanted_ids, ids, sizeof ids);
                memcpy(wanted, scores, sizeof scores);
            }
            assert_memory_equal(ids, wanted_ids, sizeof ids);
            assert_memory_equal(scores, wanted, sizeof scores);
            strata_index_close(&index);
            strata_runtime_close(&runtime);
        }
        free(x);
        free(all);
    }
    runtime = usual;
}

static void small_cases(void **state)
{
    strata_index *index = make(4, STRATA_INDEX_INT8, STRATA_INDEX_COSINE);
    const float zeros[4] = {0}, x[8] = {1, 2, 3, 4, -1, -2, -3, -4};
    const uint64_t two[2] = {UINT64_MAX, 0}, same[2] = {5, 5};
    uint64_t ids[5];
    float scores[5];
    size_t found = 9, removed;
    (void)state;
    assert_int_equal(strata_index_search(index, x, 1, 5, ids, scores, &found), STRATA_OK);
    assert_int_equal(found, 0);
    assert_int_equal(strata_index_add(index, NULL, NULL, 0), STRATA_OK);
    assert_int_equal(strata_index_add(index, two, x, 2), STRATA_OK);
    assert_int_equal(strata_index_search(index, x, 1, 5, ids, scores, &found), STRATA_OK);
    assert_int_equal(found, 2);
    assert_true(ids[0] == UINT64_MAX && ids[1] == 0 && scores[0] > 0.999f && scores[1] < -0.999f);
    assert_int_equal(strata_index_search(index, zeros, 1, 5, ids, scores, &found), STRATA_OK);
    assert_true(ids[0] == 0 && ids[1] == UINT64_MAX && scores[0] == 0 && scores[1] == 0);
    assert_int_equal(strata_index_add(index, same, x, 2), STRATA_OK); /* the last counts */
    assert_int_equal(strata_index_info_get(index).count, 3);
    assert_int_equal(strata_index_search(index, x, 1, 1, ids, scores, &found), STRATA_OK);
    assert_true(ids[0] == UINT64_MAX);
    assert_int_equal(strata_index_remove(index, same, 2, &removed), STRATA_OK);
    assert_int_equal(removed, 1);
    assert_int_equal(strata_index_vector(index, 5, scores), STRATA_E_INVALID);
    assert_int_equal(strata_index_search(index, x, 1, 0, ids, scores, &found), STRATA_E_INVALID);
    strata_index_close(&index);
    strata_index_close(&index);
    strata_index_close(NULL);
}

/* The elements of a stored vector are at most half a step away. */
static void int8_rounds_to_nearest(void **state)
{
    enum { D = 384 };
    strata_index *index = make(D, STRATA_INDEX_INT8, STRATA_INDEX_DOT);
    float x[D], got[D];
    const uint64_t id = 1;
    (void)state;
    for (int t = 0; t < 200; t++) {
        float low = INFINITY, high = -INFINITY, size = ldexpf(1, (int)(index_random() % 60) - 30);
        for (size_t i = 0; i < D; i++) {
            x[i] = t % 4 == 0 ? size : unit() * size + (t % 4 == 1 ? size : 0);
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        assert_int_equal(strata_index_add(index, &id, x, 1), STRATA_OK);
        assert_int_equal(strata_index_vector(index, id, got), STRATA_OK);
        float step = (high - low) / 255, bound = step * 0.5001f + fmaxf(high, -low) * 4e-7f;
        for (size_t i = 0; i < D; i++)
            assert_true(t % 4 == 0 ? got[i] == x[i] : fabsf(got[i] - x[i]) <= bound);
    }
    assert_int_equal(strata_index_info_get(index).vector_bytes, 392);
    strata_index_close(&index);
}

static void bad_values_are_named(void **state)
{
    float x[6] = {1, 2, 3, 4, 5, 6}, scores[2], large = 65505;
    const uint64_t ids[2] = {1, 2};
    uint64_t found_ids[2];
    size_t found;
    strata_index_options options;
    strata_index *index = make(3, STRATA_INDEX_F32, STRATA_INDEX_DOT);
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < 3; b++) {
        x[4] = bad[b];
        expect_refused(strata_index_add(index, ids, x, 2), STRATA_E_INVALID,
                       "vector 1, element 1: ");
        expect_refused(strata_index_search(index, x, 2, 1, found_ids, scores, &found),
                       STRATA_E_INVALID, "query 1, element 1: ");
    }
    assert_int_equal(strata_index_info_get(index).count, 0);
    strata_index_close(&index);
    index = make(1, STRATA_INDEX_F16, STRATA_INDEX_DOT);
    expect_refused(strata_index_add(index, ids, &large, 1), STRATA_E_INVALID, "65505");
    large = -65504;
    assert_int_equal(strata_index_add(index, ids, &large, 1), STRATA_OK);
    strata_index_close(&index);
    index = make(1, STRATA_INDEX_F16, STRATA_INDEX_COSINE); /* its vectors become of length 1 */
    large = -1e30f;
    assert_int_equal(strata_index_add(index, ids, &large, 1), STRATA_OK);
    assert_int_equal(strata_index_search(index, &large, 1, 1, found_ids, scores, &found),
                     STRATA_OK);
    assert_true(scores[0] == 1);
    strata_index_close(&index);
    strata_index_options_default(&options);
    expect_refused(strata_index_create(runtime, &options, &index), STRATA_E_INVALID, "dimension");
    options.dimension = 65537;
    expect_refused(strata_index_create(runtime, &options, &index), STRATA_E_INVALID, "dimension");
    options.dimension = 65536;
    options.type = (strata_index_type)3;
    expect_refused(strata_index_create(runtime, &options, &index), STRATA_E_INVALID, "type");
    options.type = STRATA_INDEX_F32;
    options.metric = (strata_index_metric)2;
    expect_refused(strata_index_create(runtime, &options, &index), STRATA_E_INVALID, "metric");
    options.size--;
    expect_refused(strata_index_create(runtime, &options, &index), STRATA_E_INVALID, "size");
    assert_null(index);
}

/* ---- Changes ---- */

#define MODEL_IDS 3000

/* What the index should hold: of each id whether it is there, and its vector's only element. */
struct model {
    bool there[MODEL_IDS];
    float value[MODEL_IDS];
    size_t count;
};

static void check_model(strata_index *index, const struct model *model)
{
    float value, best = -INFINITY, score;
    uint64_t best_id = 0, id;
    size_t found;
    assert_int_equal(strata_index_info_get(index).count, model->count);
    for (uint64_t i = 0; i < MODEL_IDS; i++) {
        strata_status status = strata_index_vector(index, i, &value);
        assert_int_equal(status, model->there[i] ? STRATA_OK : STRATA_E_INVALID);
        assert_true(status != STRATA_OK || value == model->value[i]);
        if (model->there[i] && model->value[i] > best) {
            best = model->value[i];
            best_id = i;
        }
    }
    value = 1;
    assert_int_equal(strata_index_search(index, &value, 1, 1, &id, &score, &found), STRATA_OK);
    assert_int_equal(found, model->count > 0);
    assert_true(found == 0 || (id == best_id && score == best));
}

static void change(strata_index *index, struct model *model)
{
    uint64_t ids[200];
    float values[200];
    size_t n = index_random() % 200, removed, wanted = 0;
    bool add = index_random() % 5 < 3;
    for (size_t i = 0; i < n; i++) {
        ids[i] = index_random() % MODEL_IDS;
        values[i] = unit();
        wanted += model->there[ids[i]];
        model->count += add ? !model->there[ids[i]] : 0;
        model->count -= add ? 0 : model->there[ids[i]];
        model->there[ids[i]] = add;
        model->value[ids[i]] = values[i];
    }
    if (add) {
        assert_int_equal(strata_index_add(index, ids, values, n), STRATA_OK);
        return;
    }
    assert_int_equal(strata_index_remove(index, ids, n, &removed), STRATA_OK);
    assert_int_equal(removed, wanted);
}

/* Changes in memory and on mapped files, saved over the file that is mapped. */
static void changes_follow_a_model(void **state)
{
    static struct model model;
    strata_index *index = make(1, STRATA_INDEX_F32, STRATA_INDEX_DOT);
    (void)state;
    memset(&model, 0, sizeof model);
    for (int round = 0; round < 300; round++) {
        change(index, &model);
        if (round % 10 == 9)
            check_model(index, &model);
        if (round % 40 == 39) {
            assert_int_equal(strata_index_save(index, path), STRATA_OK);
            strata_index_close(&index);
            assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
            assert_true(strata_index_info_get(index).mapped);
            check_model(index, &model);
        }
    }
    for (uint64_t i = 0; i < MODEL_IDS; i++)
        assert_int_equal(strata_index_remove(index, &i, 1, NULL), STRATA_OK);
    memset(&model, 0, sizeof model);
    check_model(index, &model);
    assert_int_equal(strata_index_save(index, path), STRATA_OK); /* an empty one */
    strata_index_close(&index);
    assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
    check_model(index, &model);
    strata_index_close(&index);
}

/* ---- Threads ---- */

struct user {
    strata_index *index;
    const float *x;
    bool changes;
};

static void *use_index(void *argument)
{
    struct user *user = argument;
    uint64_t ids[8 * 5];
    float scores[8 * 5];
    size_t found;
    for (uint64_t i = 0; i < 60; i++) {
        strata_status status;
        if (user->changes && i % 3 == 0)
            status = strata_index_remove(user->index, &i, 1, NULL);
        else if (user->changes)
            status = strata_index_add(user->index, &i, user->x, 1);
        else
            status = strata_index_search(user->index, user->x, 8, 5, ids, scores, &found);
        if (status != STRATA_OK || (!user->changes && found != 5))
            return user;
    }
    return NULL;
}

static void threads_search_and_change(void **state)
{
    enum { N = 2500, D = 20, USERS = 4 };
    strata_index *index = make(D, STRATA_INDEX_INT8, STRATA_INDEX_COSINE);
    float *x = vectors(N, D);
    uint64_t *ids = ids_of(N);
    pthread_t threads[USERS];
    struct user users[USERS];
    (void)state;
    assert_int_equal(strata_index_add(index, ids, x, N), STRATA_OK);
    for (size_t i = 0; i < USERS; i++) {
        users[i] = (struct user){index, x + i * D, i == 0};
        assert_int_equal(pthread_create(&threads[i], NULL, use_index, &users[i]), 0);
    }
    for (size_t i = 0; i < USERS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    strata_index_close(&index);
    free(x);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_best),
        cmocka_unit_test(results_do_not_depend_on_the_host),
        cmocka_unit_test(small_cases),
        cmocka_unit_test(int8_rounds_to_nearest),
        cmocka_unit_test(bad_values_are_named),
        cmocka_unit_test(changes_follow_a_model),
        cmocka_unit_test(threads_search_and_change),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
