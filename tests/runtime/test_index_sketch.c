/* Searching an index by sketches: recall, refusal, changes, failing calls. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "faults.h"
#include "index.h"
#include "index_fixture.h"

enum { N = 20000, D = 100, Q = 40, BEST = 50 };

/* What the vectors of an index are like. */
enum content { UNIFORM, CLUSTERED, NEARLY_EQUAL };

static float *content_vectors(enum content content, size_t n)
{
    static float centres[50][D];
    float *x = malloc(n * D * sizeof *x);
    assert_non_null(x);
    for (size_t c = 0; c < 50; c++)
        for (size_t i = 0; i < D; i++)
            centres[c][i] = unit();
    for (size_t v = 0; v < n; v++)
        for (size_t i = 0; i < D; i++) {
            float noise = unit();
            x[v * D + i] = content == UNIFORM     ? noise
                           : content == CLUSTERED ? centres[v % 50][i] + 0.4F * noise
                                                  : centres[0][i] + 1e-4F * noise;
        }
    return x;
}

static strata_index *filled(const float *x, strata_index_type type, strata_index_metric metric)
{
    strata_index *index = make(D, type, metric);
    uint64_t *ids = ids_of(N);
    assert_int_equal(strata_index_add(index, ids, x, N), STRATA_OK);
    free(ids);
    return index;
}

/* How many of the exact results the sketched search has; what it has must be scored alike and in
 * order. */
static size_t in_common(strata_index *index, const float *queries, size_t n, size_t k)
{
    static uint64_t exact[Q * BEST], ids[Q * BEST];
    static float exact_scores[Q * BEST], scores[Q * BEST];
    size_t found, same = 0;
    assert_int_equal(strata_index_search(index, queries, n, k, exact, exact_scores, &found),
                     STRATA_OK);
    assert_int_equal(strata_index_search_sketched(index, queries, n, k, ids, scores, &found),
                     STRATA_OK);
    assert_int_equal(found, k);
    for (size_t i = 0; i < n * k; i++) {
        size_t first = i / k * k;
        assert_true(i == first || scores[i - 1] > scores[i] ||
                    (scores[i - 1] == scores[i] && ids[i - 1] < ids[i]));
        for (size_t e = first; e < first + k; e++)
            if (exact[e] == ids[i]) {
                assert_true(exact_scores[e] == scores[i]);
                same++;
            }
    }
    return same;
}

/* Queries of the same kind that are not in the index. */
static void finds_nearly_all(void **state)
{
    static const size_t wanted[] = {1, 10, BEST};
    (void)state;
    for (int c = 0; c < 12; c++) {
        enum content content = c % 2 ? CLUSTERED : UNIFORM;
        float *x = content_vectors(content, N + Q);
        strata_index *index =
            filled(x, (strata_index_type)(c / 4), (strata_index_metric)(c / 2 % 2));
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        strata_index_info info = strata_index_info_get(index);
        assert_true(info.sketched && info.sketch_recall >= 0.999 && info.sketch_recall <= 1);
        for (size_t w = 0; w < 3; w++) {
            size_t k = wanted[w], same = in_common(index, x + (size_t)N * D, Q, k);
            assert_true((double)same >= 0.998 * (double)(Q * k));
        }
        strata_index_close(&index);
        free(x);
    }
}

/* Where 16 steps tell nothing, the sketches are not used, and the results are the exact ones. */
static void is_refused_where_it_misses(void **state)
{
    (void)state;
    for (int type = 0; type < 2; type++) {
        float *x = content_vectors(NEARLY_EQUAL, N + Q);
        strata_index *index =
            filled(x, type == 0 ? STRATA_INDEX_F32 : STRATA_INDEX_F16, STRATA_INDEX_DOT);
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        strata_index_info info = strata_index_info_get(index);
        assert_true(!info.sketched && info.sketch_recall < 0.5);
        assert_int_equal(in_common(index, x + (size_t)N * D, Q, 10), Q * 10);
        strata_index_close(&index);
        free(x);
    }
}

/* The same results and the same recall at every level and for any number of threads and queries. */
static void does_not_depend_on_the_host(void **state)
{
    static const char *const levels[] = {"ref", NULL, NULL};
    static uint64_t ids[Q * 10], wanted_ids[Q * 10];
    static float scores[Q * 10], wanted[Q * 10];
    float *x = content_vectors(UNIFORM, N + Q);
    double recall = 0;
    strata_runtime *usual = runtime;
    (void)state;
    for (int way = 0; way < 3; way++) {
        size_t found, step = way == 0 ? Q : way == 1 ? 1 : 3;
        runtime = open_runtime(1 + way, levels[way]);
        strata_index *index = filled(x, STRATA_INDEX_INT8, STRATA_INDEX_COSINE);
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        for (size_t q = 0; q < Q; q += step)
            assert_int_equal(strata_index_search_sketched(index, x + (N + q) * D,
                                                          Q - q < step ? Q - q : step, 10,
                                                          ids + q * 10, scores + q * 10, &found),
                             STRATA_OK);
        strata_index_info info = strata_index_info_get(index);
        assert_true(info.sketched);
        if (way == 0) {
            recall = info.sketch_recall;
            memcpy(wanted_ids, ids, sizeof ids);
            memcpy(wanted, scores, sizeof scores);
        }
        assert_true(info.sketch_recall == recall);
        assert_memory_equal(ids, wanted_ids, sizeof ids);
        assert_memory_equal(scores, wanted, sizeof scores);
        strata_index_close(&index);
        strata_runtime_close(&runtime);
    }
    runtime = usual;
    free(x);
}

static void expect_sketched(strata_index *index, bool sketched, const float *queries)
{
    strata_index_info info = strata_index_info_get(index);
    assert_int_equal(info.sketched, sketched);
    assert_true((info.sketch_recall > 0) == sketched);
    size_t same = in_common(index, queries, Q, 10);
    assert_true(sketched ? same >= Q * 10 - 1 : same == Q * 10);
}

/* Every change ends their use until they are made again; files hold those that are in use. */
static void changes_free_sketches(void **state)
{
    float *x = content_vectors(CLUSTERED, N + Q);
    const float *queries = x + (size_t)N * D;
    const uint64_t ids[2] = {7, 8}, none = 1;
    strata_index *index = filled(x, STRATA_INDEX_INT8, STRATA_INDEX_DOT);
    (void)state;
    expect_sketched(index, false, queries);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        expect_sketched(index, true, queries);
        assert_int_equal(strata_index_add(index, NULL, NULL, 0), STRATA_OK);
        assert_int_equal(strata_index_remove(index, &none, 1, NULL), STRATA_OK);
        expect_sketched(index, true, queries); /* nothing changed */
        assert_int_equal(strata_index_add(index, ids, queries, 2), STRATA_OK);
        expect_sketched(index, false, queries);
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        expect_sketched(index, true, queries);
        assert_int_equal(strata_index_remove(index, ids, 1, NULL), STRATA_OK);
        expect_sketched(index, false, queries);
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        assert_int_equal(strata_index_save(index, path), STRATA_OK);
        expect_sketched(index, true, queries);
        strata_index_close(&index);
        assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
        expect_sketched(index, true, queries);
        assert_int_equal(strata_index_remove(index, ids + 1, 1, NULL), STRATA_OK);
        assert_int_equal(strata_index_save(index, path), STRATA_OK);
        strata_index_close(&index);
        assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
        expect_sketched(index, false, queries);
    }
    strata_index_close(&index);
    free(x);
}

/* Opened from a file, they find the same as those that were made, with the same recall. */
static void files_hold_sketches(void **state)
{
    static uint64_t ids[2][Q * 10];
    static float scores[2][Q * 10];
    double recall[2];
    (void)state;
    for (int type = 0; type < 3; type++) {
        float *x = content_vectors(CLUSTERED, N + Q);
        strata_index *index = filled(x, (strata_index_type)type, STRATA_INDEX_COSINE);
        assert_int_equal(strata_index_sketch(index), STRATA_OK);
        for (int opened = 0; opened < 2; opened++) {
            size_t found;
            recall[opened] = strata_index_info_get(index).sketch_recall;
            assert_true(strata_index_info_get(index).sketched);
            assert_int_equal(strata_index_search_sketched(index, x + (size_t)N * D, Q, 10,
                                                          ids[opened], scores[opened], &found),
                             STRATA_OK);
            if (opened)
                break;
            assert_int_equal(strata_index_save(index, path), STRATA_OK);
            strata_index_close(&index);
            assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
        }
        assert_true(recall[0] == recall[1]);
        assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
        assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
        strata_index_close(&index);
        free(x);
    }
}

/* Where they have no room, the index opens without them. */
static void opened_without_room(void **state)
{
    float *x = content_vectors(UNIFORM, N + Q);
    strata_index *index = filled(x, STRATA_INDEX_INT8, STRATA_INDEX_COSINE);
    struct strata__account *account;
    (void)state;
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    assert_int_equal(
        strata__ledger_account(strata__ledger_total(runtime->ledger), "narrow", &account),
        STRATA_OK);
    const struct strata__scope scope = {.account = account};
    const uint64_t bytes = (uint64_t)N * (128 / 2 + 8);
    for (int room = 0; room < 2; room++) {
        account->limit[STRATA__HOST_MEMORY] = bytes - !room;
        assert_int_equal(strata__index_open(runtime, path, scope, &index), STRATA_OK);
        expect_sketched(index, room, x + (size_t)N * D);
        assert_int_equal(strata__account_used(account, STRATA__HOST_MEMORY), room ? bytes : 0);
        strata_index_close(&index);
        assert_int_equal(strata__account_used(account, STRATA__HOST_MEMORY), 0);
    }
    free(x);
}

/* Drops the pages of the index' file, which nobody else has, from memory. */
static void evict(void)
{
    int file = open(path, O_RDONLY);
    assert_true(file >= 0);
    assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    assert_int_equal(close(file), 0);
}

/* Read singly, the vectors of a file answer as before, and a search by sketches brings few of them
 * to memory. */
static void read_singly(void **state)
{
    static uint64_t ids[10];
    static float scores[10];
    size_t found;
    float *x = content_vectors(UNIFORM, N + Q);
    strata_index *index = filled(x, STRATA_INDEX_INT8, STRATA_INDEX_COSINE);
    (void)state;
    strata__index_read_singly(index); /* of no file */
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
    strata__index_read_singly(index);
    evict();
    const char *data = index->blocks[0].vectors;
    const uint64_t bytes = (uint64_t)N * D;
    const uint64_t before = strata__resident_bytes(data, bytes);
    assert_int_equal(strata_index_search_sketched(index, x, 1, 10, ids, scores, &found), STRATA_OK);
    const uint64_t after = strata__resident_bytes(data, bytes);
    /* Some file systems are memory. */
    if (before < bytes / 20 && after > bytes / 2)
        fail_msg("%llu of %llu bytes came to memory", (unsigned long long)after,
                 (unsigned long long)bytes);
    assert_true(after > 0);
    expect_sketched(index, true, x + (size_t)N * D);
    strata_index_close(&index);
    free(x);
}

/* Few vectors, many results, and duplicates. */
static void small_cases(void **state)
{
    static uint64_t ids[N];
    static float scores[N];
    float x[D], *some = content_vectors(UNIFORM, 700);
    uint64_t *all = ids_of(700);
    size_t found;
    strata_index *index = make(D, STRATA_INDEX_F32, STRATA_INDEX_DOT);
    (void)state;
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_int_equal(strata_index_add(index, all, some, 639), STRATA_OK);
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_false(strata_index_info_get(index).sketched);
    assert_int_equal(strata_index_add(index, all, some, 640), STRATA_OK);
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_true(strata_index_info_get(index).sketched);
    assert_int_equal(strata_index_search_sketched(index, some, 1, 700, ids, scores, &found),
                     STRATA_OK);
    assert_int_equal(found, 640);
    x[0] = NAN;
    expect_refused(strata_index_search_sketched(index, x, 1, 1, ids, scores, &found),
                   STRATA_E_INVALID, "query 0, element 0: ");
    expect_refused(strata_index_search_sketched(index, some, 1, 0, ids, scores, &found),
                   STRATA_E_INVALID, "k: ");
    for (size_t i = 0; i < 700 * D; i++)
        some[i] = i % D == 0 ? -3e38F : 3e38F; /* all the same, and of a span beyond floats */
    assert_int_equal(strata_index_add(index, all, some, 700), STRATA_OK);
    assert_int_equal(strata_index_sketch(index), STRATA_OK);
    assert_int_equal(in_common(index, some, 1, 10), 10);
    strata_index_close(&index);
    free(all);
    free(some);
}

static void memory_may_fail(void **state)
{
    float *x = content_vectors(UNIFORM, N + Q);
    strata_index *index = filled(x, STRATA_INDEX_INT8, STRATA_INDEX_COSINE);
    uint64_t ids[10];
    float scores[10];
    size_t found, n = 1;
    (void)state;
    for (;; n++) {
        fault_arm(FAULT_MEMORY, n, false, ENOMEM);
        strata_status status = strata_index_sketch(index);
        assert_int_equal(strata_index_info_get(index).sketched, status == STRATA_OK);
        if (status == STRATA_OK)
            status = strata_index_search_sketched(index, x, 1, 10, ids, scores, &found);
        bool reached = fault_count(FAULT_MEMORY) >= n;
        fault_reset();
        assert_int_equal(status, reached ? STRATA_E_NOMEM : STRATA_OK);
        if (!reached)
            break;
    }
    assert_true(n > 10);
    assert_true(strata_index_info_get(index).sketched);
    strata_index_close(&index);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_nearly_all),
        cmocka_unit_test(is_refused_where_it_misses),
        cmocka_unit_test(does_not_depend_on_the_host),
        cmocka_unit_test(changes_free_sketches),
        cmocka_unit_test(files_hold_sketches),
        cmocka_unit_test(opened_without_room),
        cmocka_unit_test(read_singly),
        cmocka_unit_test(small_cases),
        cmocka_unit_test(memory_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
