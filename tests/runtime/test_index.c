/* Indexes of vectors: what they find against sums in double, changes against a model, files, every
 * failing call. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include "faults.h"
#include "strata.h"

static strata_runtime *runtime;
static char folder[] = "/tmp/test_index.XXXXXX", path[64];

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    return z ^ z >> 27;
}

static float unit(void)
{
    return (float)(int32_t)(next_random() >> 32) * 0x1p-31f;
}

static strata_runtime *open_runtime(int threads, const char *level)
{
    strata_config config;
    strata_runtime *opened;
    strata_config_default(&config);
    config.threads = threads;
    config.cpu_level = level;
    config.no_tuning = true;
    assert_int_equal(strata_runtime_open(&opened, &config), STRATA_OK);
    return opened;
}

static strata_index *make(size_t dimension, strata_index_type type, strata_index_metric metric)
{
    strata_index_options options;
    strata_index *index;
    strata_index_options_default(&options);
    options.dimension = dimension;
    options.type = type;
    options.metric = metric;
    assert_int_equal(strata_index_create(runtime, &options, &index), STRATA_OK);
    return index;
}

/* n random vectors; every 50th is the one before it. */
static float *vectors(size_t n, size_t dimension)
{
    float *x = malloc(n * dimension * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n * dimension; i++)
        x[i] = unit();
    for (size_t i = 49; i < n; i += 50)
        memcpy(x + i * dimension, x + (i - 1) * dimension, dimension * sizeof *x);
    return x;
}

/* ids 7, 14, 21, ... in an order that is not that of rows. */
static uint64_t *ids_of(size_t n)
{
    uint64_t *ids = malloc(n * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = 7 * (n - i);
    return ids;
}

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
        float low = INFINITY, high = -INFINITY, size = ldexpf(1, (int)(next_random() % 60) - 30);
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

static void expect_refused(strata_status status, strata_status wanted, const char *text)
{
    assert_int_equal(status, wanted);
    if (!strstr(strata_last_error(), text))
        fail_msg("\"%s\" does not say \"%s\"", strata_last_error(), text);
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
    size_t n = next_random() % 200, removed, wanted = 0;
    bool add = next_random() % 5 < 3;
    for (size_t i = 0; i < n; i++) {
        ids[i] = next_random() % MODEL_IDS;
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

/* ---- Files ---- */

static size_t read_bytes(unsigned char *bytes, size_t cap)
{
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    size_t n = fread(bytes, 1, cap, in);
    assert_int_equal(fclose(in), 0);
    return n;
}

static void write_bytes(const unsigned char *bytes, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

/* A file of 3 vectors of 5 elements: ids at 128, scales at 152, vectors at 192; its size. */
static size_t small_file(unsigned char *bytes, size_t cap)
{
    strata_index *index = make(5, STRATA_INDEX_INT8, STRATA_INDEX_DOT);
    float *x = vectors(3, 5);
    uint64_t *ids = ids_of(3);
    assert_int_equal(strata_index_add(index, ids, x, 3), STRATA_OK);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    free(x);
    free(ids);
    return read_bytes(bytes, cap);
}

static void expect_open(strata_status wanted, const char *text)
{
    strata_index *index;
    strata_status status = strata_index_open(runtime, path, &index);
    if (wanted == STRATA_OK) {
        assert_int_equal(status, STRATA_OK);
        strata_index_close(&index);
    } else {
        expect_refused(status, wanted, text);
        assert_null(index);
    }
}

static void put_checksum(unsigned char *at, const unsigned char *from, size_t bytes)
{
    uint64_t hash = bytes == 64 ? XXH3_64bits(from, bytes) : XXH3_64bits_withSeed(from, bytes, 0);
    memcpy(at, &hash, sizeof hash);
}

/* Whatever byte changes, and wherever the file ends, it is refused; so is what no index writes,
 * with right checksums. */
static void bad_files_are_refused(void **state)
{
    unsigned char good[512], bad[512];
    size_t size = small_file(good, sizeof good);
    (void)state;
    assert_int_equal(size, 192 + 15);
    for (size_t i = 0; i < size; i++) {
        write_bytes(good, i);
        expect_open(STRATA_E_FORMAT, "");
        if (i >= 176 && i < 192)
            continue; /* between the parts */
        memcpy(bad, good, size);
        bad[i] ^= 0x10;
        write_bytes(bad, size);
        expect_open(STRATA_E_FORMAT, "");
    }
    memcpy(bad, good, size);
    bad[size] = 0;
    write_bytes(bad, size + 1);
    expect_open(STRATA_E_FORMAT, ":32: bytes of the file: found 208, expected 207");
    static const struct {
        size_t at, bytes;
        uint64_t value;
        const char *text;
    } fields[] = {
        {0, 1, 'X', ":0: not an index file"},
        {8, 4, 2, ":8: version: found 2, expected 1"},
        {12, 4, 3, ":12: type: found 3"},
        {16, 4, 2, ":16: metric: found 2"},
        {20, 4, 1, ":20: reserved"},
        {24, 8, 0, ":24: dimension: found 0"},
        {24, 8, 65537, ":24: dimension: found 65537"},
        {24, 8, UINT64_MAX, ":24: dimension: found 18446744073709551615"},
        {24, 8, 6, ":32: bytes of the file: found 207, expected 210"},
        {32, 8, 0, ":32: bytes of the file: found 207, expected 128"},
        {32, 8, 4, ":32: bytes of the file"},
        {32, 8, UINT64_MAX / 5 + 1, ":32: count"},
        {32, 8, 2147483648u, ":32: count"},
        {32, 8, 2147483647u, ":32: bytes of the file"},
        {72, 1, 1, ":72: reserved"},
        {136, 8, 21, ":136: id 21: found for the second time, first at 128"},
        {152, 4, 0x7fc00000, ":152: scale and offset: found nan"},
        {164, 4, 0x7f800000, ":160: scale and offset"},
        {168, 4, 0xbf800000, ":168: scale and offset: found -1"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        memcpy(bad, good, size);
        memcpy(bad + fields[i].at, &fields[i].value, fields[i].bytes);
        put_checksum(bad + 40, bad + 128, 24);
        put_checksum(bad + 48, bad + 152, 24);
        put_checksum(bad + 64, bad, 64);
        write_bytes(bad, size);
        expect_open(STRATA_E_FORMAT, fields[i].text);
    }
    write_bytes(good, size);
    expect_open(STRATA_OK, NULL);
}

static void only_plain_files_are_opened(void **state)
{
    (void)state;
    unlink(path);
    expect_open(STRATA_E_IO, "cannot open");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_open(STRATA_E_IO, "a FIFO");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_open(STRATA_E_IO, "a directory");
    rmdir(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    expect_open(STRATA_E_IO, "a device");
    unlink(path);
}

/* NaN in vectors of a file with right checksums: such a vector comes last. */
static void foreign_nan_comes_last(void **state)
{
    unsigned char bytes[512];
    strata_index *index = make(2, STRATA_INDEX_F32, STRATA_INDEX_DOT);
    const float x[4] = {-1, -1, 1, 1}, nan = NAN;
    const uint64_t two[2] = {1, 2};
    uint64_t ids[2];
    float scores[2];
    size_t found;
    (void)state;
    assert_int_equal(strata_index_add(index, two, x, 2), STRATA_OK);
    assert_int_equal(strata_index_save(index, path), STRATA_OK);
    strata_index_close(&index);
    size_t size = read_bytes(bytes, sizeof bytes);
    memcpy(bytes + 192 + 8, &nan, sizeof nan);
    put_checksum(bytes + 56, bytes + 192, 16);
    put_checksum(bytes + 64, bytes, 64);
    write_bytes(bytes, size);
    assert_int_equal(strata_index_open(runtime, path, &index), STRATA_OK);
    assert_int_equal(strata_index_search(index, x + 2, 1, 2, ids, scores, &found), STRATA_OK);
    assert_true(found == 2 && ids[0] == 1 && ids[1] == 2 && scores[1] == -INFINITY);
    strata_index_close(&index);
}

/* ---- Failing calls ---- */

/* Every call that can fail: an error, and an index as before or changed as a whole. */
static strata_status everything(void)
{
    enum { N = 40, D = 6 };
    strata_index *index = NULL, *mapped = NULL;
    strata_index_options options;
    uint64_t *ids = ids_of(N), found_ids[3];
    float *x = vectors(N, D), scores[3];
    size_t found;
    strata_index_options_default(&options);
    options.dimension = D;
    strata_status status = strata_index_create(runtime, &options, &index);
    if (status == STRATA_OK) {
        status = strata_index_add(index, ids, x, N);
        assert_int_equal(strata_index_info_get(index).count, status == STRATA_OK ? N : 0);
    }
    if (status == STRATA_OK)
        status = strata_index_search(index, x, 2, 1, found_ids, scores, &found);
    if (status == STRATA_OK)
        status = strata_index_save(index, path);
    if (status == STRATA_OK)
        status = strata_index_open(runtime, path, &mapped);
    if (status == STRATA_OK) {
        status = strata_index_remove(mapped, ids, 5, NULL);
        assert_int_equal(strata_index_info_get(mapped).count, status == STRATA_OK ? N - 5 : N);
    }
    strata_index_close(&index);
    strata_index_close(&mapped);
    free(ids);
    free(x);
    return status;
}

static size_t files(void)
{
    char command[128];
    snprintf(command, sizeof command, "exit $(ls -A %s | wc -l)", folder);
    return (size_t)WEXITSTATUS(system(command));
}

static void every_call_may_fail(void **state)
{
    static const struct {
        enum fault_call call;
        int error;
    } faults[] = {{FAULT_MEMORY, ENOMEM}, {FAULT_OPEN, EACCES},   {FAULT_FSTAT, EIO},
                  {FAULT_MMAP, ENOMEM},   {FAULT_PWRITE, ENOSPC}, {FAULT_NEW_FILE, EROFS},
                  {FAULT_RENAME, EIO},    {FAULT_FSYNC, EIO}};
    long mappings = fault_mappings();
    (void)state;
    unlink(path);
    assert_int_equal(everything(), STRATA_OK);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        size_t n = 1;
        for (;; n++) {
            fault_arm(faults[f].call, n, false, faults[f].error);
            strata_status status = everything();
            bool reached = fault_count(faults[f].call) >= n;
            fault_reset();
            assert_int_equal(fault_mappings(), mappings);
            assert_int_equal(files(), 1); /* the old one */
            expect_open(STRATA_OK, NULL);
            if (!reached) {
                assert_int_equal(status, STRATA_OK);
                break;
            }
            assert_int_equal(status, faults[f].call == FAULT_MEMORY ? STRATA_E_NOMEM : STRATA_E_IO);
            if (faults[f].call != FAULT_MEMORY)
                assert_non_null(strstr(strata_last_error(), strerror(faults[f].error)));
        }
        assert_true(n > 1);
    }
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/x.index", folder);
    runtime = open_runtime(2, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    strata_runtime_close(&runtime);
    unlink(path);
    return rmdir(folder);
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
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(only_plain_files_are_opened),
        cmocka_unit_test(foreign_nan_comes_last),
        cmocka_unit_test(every_call_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
