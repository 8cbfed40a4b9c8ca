/* Caches, level by level: records, what is predicted, memory, LMDB; damage of each. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "answer_cache.h"
#include "cache_fixture.h"
#include "cache_lmdb.h"
#include "cache_memory.h"
#include "memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { ORIGIN = 77 };

/* ---- Records ---- */

/* Each part of a key counts, and no byte of a record may change. */
static void records(void **state)
{
    (void)state;
    struct strata__record *record = cache_record(3, 10, 20);
    const size_t size = strata__record_size(record);
    struct strata__cache_key key = cache_key(3, 10, 20);
    assert_true(strata__record_is(record, &key));
    assert_ptr_equal(strata__record_read(record, size), record);
    const struct strata__cache_id id = strata__cache_id_of(&key);
    const struct strata__cache_key others[] = {cache_key(3, 11, 20), cache_key(3, 10, 21),
                                               cache_key(4, 10, 20), cache_key(3, 20, 10)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_false(strata__record_is(record, &others[i]));
        assert_true(strata__cache_id_of(&others[i]).low != id.low);
    }
    key.kind = STRATA__CACHE_CHAIN;
    assert_false(strata__record_is(record, &key));
    key.kind = STRATA__CACHE_ANSWER;
    key.size--;
    assert_false(strata__record_is(record, &key));
    for (size_t i = 0; i < size; i++) {
        ((char *)record)[i] ^= 1;
        assert_null(strata__record_read(record, size));
        ((char *)record)[i] ^= 1;
    }
    for (size_t cut = 1; cut <= size; cut++)
        assert_null(strata__record_read(record, size - cut));
    key = cache_key(3, 10, 20);
    assert_int_equal(strata__record_room(&key, STRATA__RECORD_MOST), 0);
    key.size = SIZE_MAX;
    assert_int_equal(strata__record_room(&key, 10), 0);
    strata__free(record);
}

static void staleness(void **state)
{
    const struct strata__cache_versions now = {.graph = 5, .models = {7, 8}};
    (void)state;
    for (uint64_t graph = 4; graph <= 6; graph++)
        for (uint64_t model = 6; model <= 9; model++) {
            const struct strata__record record = {.graph = graph, .model = model};
            assert_true(strata__record_is_stale(&record, &now) ==
                        !(graph == 5 && (model == 7 || model == 8)));
        }
    const struct strata__record any = {.graph = 0, .model = 0};
    assert_false(strata__record_is_stale(&any, &now));
}

/* Vectors of 8 bits take a quarter, and point where they did. */
static void vectors(void **state)
{
    enum { WIDTH = 384 };
    static float vector[WIDTH], out[WIDTH];
    static unsigned char packed[WIDTH + 8];
    double worst = 1;
    uint32_t random = 1;
    (void)state;
    assert_int_equal(strata__vector_bytes(WIDTH), sizeof packed);
    for (int round = 0; round < 1000; round++) {
        double squares = 0, dot = 0;
        for (int i = 0; i < WIDTH; i++) {
            double sum = 0;
            for (int k = 0; k < 4; k++) {
                random = random * 1664525 + 1013904223;
                sum += (double)random / 0x1p32 - 0.5;
            }
            vector[i] =
                (float)(round % 10 == 9 && i ? sum / 50 : sum); /* also one that stands out */
            squares += (double)vector[i] * (double)vector[i];
        }
        strata__vector_pack(vector, WIDTH, packed);
        assert_true(strata__vector_unpack(packed, sizeof packed, out, WIDTH));
        double length = 0;
        for (int i = 0; i < WIDTH; i++) {
            dot += (double)vector[i] / sqrt(squares) * (double)out[i];
            length += (double)out[i] * (double)out[i];
        }
        assert_true(fabs(length - 1) < 1e-5);
        worst = dot < worst ? dot : worst;
    }
    assert_true(worst >= 0.999);
    assert_false(strata__vector_unpack(packed, sizeof packed - 1, out, WIDTH));
    assert_false(strata__vector_unpack(packed, sizeof packed, out, WIDTH - 1));
    memset(vector, 0, sizeof vector);
    strata__vector_pack(vector, WIDTH, packed);
    assert_true(strata__vector_unpack(packed, sizeof packed, out, WIDTH));
    assert_true(out[0] == 0 && out[WIDTH - 1] == 0);
}

/* ---- What is predicted ---- */

static void likelihoods(void **state)
{
    static const struct {
        unsigned uses;
        bool memory, lmdb; /* room */
        double cost;
        enum strata__likelihood wanted;
    } cases[] = {
        {1, false, false, 5, STRATA__UNLIKELY},       {1, false, true, 5, STRATA__LIKELY},
        {1, true, true, 5, STRATA__VERY_LIKELY},      {2, false, false, 5, STRATA__VERY_LIKELY},
        {3, false, false, 5, STRATA__VERY_LIKELY},    {4, false, false, 5, STRATA__CERTAIN},
        {200, true, true, 5, STRATA__CERTAIN},        {1, false, false, 0.3, STRATA__VERY_UNLIKELY},
        {1, false, true, 0.3, STRATA__VERY_UNLIKELY}, {2, false, false, 0.2, STRATA__VERY_LIKELY},
        {9, true, true, 0.2, STRATA__VERY_LIKELY},    {9, true, true, 0.09, STRATA__VERY_UNLIKELY},
    };
    static const unsigned levels[] = {0, 4, 6, 3, 7}; /* memory 1, LMDB 2, disk 4 */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct strata__chance chance = {.uses = cases[i].uses,
                                              .fits = {true, true},
                                              .room = {cases[i].memory, cases[i].lmdb},
                                              .cost_ms = cases[i].cost,
                                              .read_ms = {0.001, 0.01, 0.04}};
        assert_int_equal(strata__predict(&chance), cases[i].wanted);
        struct strata__chance large = chance;
        large.fits[0] = large.fits[1] = false;
        assert_int_equal(strata__predict(&large),
                         large.cost_ms > 0.4 ? STRATA__UNLIKELY : STRATA__VERY_UNLIKELY);
    }
    for (int i = 0; i < STRATA__LIKELIHOODS; i++)
        assert_int_equal(strata__levels_of((enum strata__likelihood)i), levels[i]);
}

static uint64_t use_key(unsigned i)
{
    const struct strata__cache_key key = cache_key(i, 0, 0);
    return strata__cache_use_of(&key);
}

static void uses(void **state)
{
    struct strata__uses *uses, *read;
    (void)state;
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    for (unsigned i = 1; i <= 100; i++)
        for (unsigned n = 1; n <= i; n++)
            assert_int_equal(strata__uses_add(uses, use_key(i)), n);
    for (unsigned i = 1; i <= 100; i++)
        assert_int_equal(strata__uses_of(uses, use_key(i)), i);
    assert_int_equal(strata__uses_of(uses, use_key(1000)), 0);
    for (unsigned n = 0; n < 1000; n++)
        assert_true(strata__uses_add(uses, use_key(7)) <= 255);
    assert_int_equal(strata__uses_of(uses, use_key(7)), 255);

    /* A file of them, whole, of another origin, damaged, cut. */
    assert_true(strata__uses_save(uses, cache_file("uses"), ORIGIN));
    assert_int_equal(strata__uses_open(&read), STRATA_OK);
    assert_false(strata__uses_load(read, cache_file("uses"), ORIGIN + 1));
    assert_false(strata__uses_load(read, cache_file("none"), ORIGIN));
    assert_int_equal(strata__uses_of(read, use_key(50)), 0);
    assert_true(strata__uses_load(read, cache_file("uses"), ORIGIN));
    assert_int_equal(strata__uses_of(read, use_key(50)), 50);
    cache_flip("uses", 100000);
    assert_false(strata__uses_load(read, cache_file("uses"), ORIGIN));
    cache_flip("uses", 100000);
    cache_cut("uses", 1000);
    assert_false(strata__uses_load(read, cache_file("uses"), ORIGIN));
    strata__uses_close(&read);

    /* After so many uses, counts are halved. */
    for (unsigned n = 0; n < 21000; n++)
        strata__uses_add(uses, use_key(5000 + n % 3000));
    assert_in_range(strata__uses_of(uses, use_key(100)), 25, 50);
    strata__uses_close(&uses);
}

/* ---- Memory ---- */

static bool copy_out(void *user, const char *value, size_t size)
{
    struct strata__bytes *out = user;
    out->size = 0;
    return strata__bytes_append(out, value, size) == STRATA_OK;
}

static void put(struct strata__cache_memory *memory, unsigned i)
{
    struct strata__record *record = cache_record(i, 1, 1);
    strata__cache_memory_put(memory, record);
    strata__free(record);
}

static bool has(struct strata__cache_memory *memory, unsigned i)
{
    struct strata__bytes value = {0};
    const struct strata__cache_key key = cache_key(i, 1, 1);
    const bool found = strata__cache_memory_get(memory, &key, true, copy_out, &value);
    if (found)
        assert_true(cache_is_value(&value, i));
    strata__bytes_free(&value);
    return found;
}

/* What is asked for often stays, however much passes; the limit holds. */
static void memory_resists_scans(void **state)
{
    enum { LIMIT = 100000, OFTEN = 60 };
    struct strata__cache_memory *memory;
    unsigned there = 0;
    (void)state;
    assert_int_equal(strata__cache_memory_open(LIMIT, &memory), STRATA_OK);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < OFTEN; i++)
            if (!has(memory, i))
                put(memory, i);
    for (unsigned i = 1000; i < 4000; i++) {
        put(memory, i);
        assert_true(has(memory, i)); /* as long as it is new */
        assert_true(strata__cache_memory_info_get(memory).bytes <= LIMIT);
        if (i % 10 == 0)
            has(memory, i / 10 % OFTEN);
    }
    for (unsigned i = 0; i < OFTEN; i++)
        there += has(memory, i);
    assert_true(there > OFTEN * 9 / 10);
    /* What comes back soon after it left goes to the main queue, where a scan does not reach it. */
    for (unsigned i = 0; i < 300; i++)
        put(memory, 5000 + i);
    assert_false(has(memory, 5000));
    put(memory, 5000);
    for (unsigned i = 0; i < 100; i++)
        put(memory, 6000 + i);
    assert_true(has(memory, 5000));
    assert_false(has(memory, 5001));
    strata__cache_memory_close(&memory);
}

static void memory_drops_stale(void **state)
{
    const struct strata__cache_versions next = {.graph = 2, .models = {1, 1}};
    struct strata__cache_memory *memory;
    (void)state;
    assert_int_equal(strata__cache_memory_open(1 << 20, &memory), STRATA_OK);
    for (unsigned i = 0; i < 100; i++) {
        struct strata__record *record = cache_record(i, 1 + i % 2, 1);
        assert_true(strata__cache_memory_put(memory, record));
        strata__free(record);
    }
    const uint64_t bytes = strata__cache_memory_info_get(memory).bytes;
    const size_t stale = strata__cache_memory_stale(memory, &next, true);
    assert_true(stale > bytes / 3 && stale < bytes * 2 / 3);
    assert_int_equal(strata__cache_memory_info_get(memory).bytes, bytes);
    assert_int_equal(strata__cache_memory_stale(memory, &next, false), stale);
    assert_int_equal(strata__cache_memory_info_get(memory).bytes, bytes - stale);
    assert_int_equal(strata__cache_memory_info_get(memory).count, 50);
    assert_int_equal(strata__cache_memory_stale(memory, &next, false), 0);
    for (unsigned i = 0; i < 100; i += 2)
        assert_false(has(memory, i));
    for (unsigned i = 200; i < 3000; i++) /* queues are whole */
        put(memory, i);
    assert_true(strata__cache_memory_info_get(memory).bytes <= 1 << 20);
    strata__cache_memory_close(&memory);
}

/* ---- LMDB ---- */

static struct strata__cache_lmdb *open_lmdb(size_t limit, uint64_t origin, bool *discarded)
{
    struct strata__cache_lmdb *lmdb;
    if (strata__cache_lmdb_open(cache_folder, limit, origin, discarded, &lmdb) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return lmdb;
}

static void put_lmdb(struct strata__cache_lmdb *lmdb, unsigned from, unsigned n)
{
    struct strata__uses *uses;
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    assert_int_equal(strata__cache_lmdb_begin(lmdb), STRATA_OK);
    for (unsigned i = from; i < from + n; i++) {
        struct strata__record *record = cache_record(i, 1, 1);
        assert_int_equal(strata__cache_lmdb_put(lmdb, record), STRATA_OK);
        strata__free(record);
    }
    assert_int_equal(strata__cache_lmdb_evict(lmdb, uses, NULL, NULL), STRATA_OK);
    assert_int_equal(strata__cache_lmdb_commit(lmdb), STRATA_OK);
    strata__uses_close(&uses);
}

static unsigned count_lmdb(struct strata__cache_lmdb *lmdb, unsigned from, unsigned n)
{
    struct strata__bytes bytes = {0};
    unsigned count = 0;
    for (unsigned i = from; i < from + n; i++) {
        bool found, damaged;
        struct strata__cache_key key = cache_key(i, 1, 1);
        assert_int_equal(strata__cache_lmdb_get(lmdb, &key, &bytes, &found, &damaged), STRATA_OK);
        assert_false(damaged);
        if (found)
            assert_true(cache_is_record(&bytes, i));
        count += found;
        key.graph = 2;
        assert_int_equal(strata__cache_lmdb_get(lmdb, &key, &bytes, &found, &damaged), STRATA_OK);
        assert_false(found);
    }
    strata__bytes_free(&bytes);
    return count;
}

static void lmdb_keeps(void **state)
{
    bool discarded;
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct strata__cache_lmdb *lmdb = open_lmdb(1 << 20, ORIGIN, &discarded);
        assert_false(discarded);
        if (round)
            assert_int_equal(count_lmdb(lmdb, 0, 200), 200);
        else
            put_lmdb(lmdb, 0, 200);
        strata__cache_lmdb_close(&lmdb);
    }
    struct strata__cache_lmdb *lmdb = open_lmdb(1 << 20, ORIGIN + 1, &discarded);
    assert_true(discarded);
    assert_int_equal(count_lmdb(lmdb, 0, 200), 0);
    strata__cache_lmdb_close(&lmdb);
}

/* Over its limit, the least used leave. */
static void lmdb_holds_its_limit(void **state)
{
    enum { LIMIT = 200000, OFTEN = 50 };
    bool discarded;
    struct strata__uses *uses;
    (void)state;
    struct strata__cache_lmdb *lmdb = open_lmdb(LIMIT, ORIGIN, &discarded);
    assert_int_equal(strata__uses_open(&uses), STRATA_OK);
    for (unsigned i = 0; i < OFTEN * 5; i++)
        strata__uses_add(uses, use_key(i % OFTEN));
    assert_true(strata__cache_lmdb_has_room(lmdb));
    for (unsigned i = 0; i < 2000; i += 20) {
        assert_int_equal(strata__cache_lmdb_begin(lmdb), STRATA_OK);
        for (unsigned k = i; k < i + 20; k++) {
            struct strata__record *record = cache_record(k, 1, 1);
            assert_int_equal(strata__cache_lmdb_put(lmdb, record), STRATA_OK);
            strata__free(record);
        }
        assert_int_equal(strata__cache_lmdb_evict(lmdb, uses, NULL, NULL), STRATA_OK);
        assert_int_equal(strata__cache_lmdb_commit(lmdb), STRATA_OK);
        assert_true(strata__cache_lmdb_info_get(lmdb).bytes <= LIMIT);
    }
    assert_false(strata__cache_lmdb_has_room(lmdb));
    assert_true(count_lmdb(lmdb, 0, OFTEN) >= OFTEN * 9 / 10);
    assert_true(count_lmdb(lmdb, OFTEN, 1950) < 400);
    strata__uses_close(&uses);
    strata__cache_lmdb_close(&lmdb);
}

/* Damage of any of its files: it is made anew, and nothing wrong is given. */
static void lmdb_is_damaged(void **state)
{
    static const struct {
        const char *file;
        long offset, cut; /* -1: not */
    } damages[] = {{"data.mdb", 16, -1},    {"data.mdb", 4096 + 20, -1}, {"data.mdb", 20000, -1},
                   {"data.mdb", 30001, -1}, {"data.mdb", -1, 30000},     {"data.mdb", -1, 0},
                   {"state", 3, -1},        {"state", 50, -1},           {"state", -1, 10},
                   {"state", -1, 0}};
    bool discarded;
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct strata__cache_lmdb *lmdb = open_lmdb(1 << 20, ORIGIN, &discarded);
        put_lmdb(lmdb, 0, 200);
        strata__cache_lmdb_close(&lmdb);
        if (damages[i].offset >= 0)
            cache_flip(damages[i].file, damages[i].offset);
        if (damages[i].cut >= 0)
            cache_cut(damages[i].file, damages[i].cut);
        lmdb = open_lmdb(1 << 20, ORIGIN, &discarded);
        assert_true(discarded);
        assert_int_equal(count_lmdb(lmdb, 0, 200), 0);
        put_lmdb(lmdb, 0, 100);
        assert_int_equal(count_lmdb(lmdb, 0, 200), 100);
        strata__cache_lmdb_close(&lmdb);
    }
}

/* A process that ended leaves a file that is whole; an end of the system may not. */
static void lmdb_after_a_crash(void **state)
{
    bool discarded;
    (void)state;
    struct strata__cache_lmdb *lmdb = open_lmdb(1 << 20, ORIGIN, &discarded);
    put_lmdb(lmdb, 0, 200);
    cache_copy("data.mdb", "data.crash"); /* as files are when a process ends now */
    cache_copy("state", "state.crash");
    strata__cache_lmdb_close(&lmdb);
    cache_copy("data.crash", "data.mdb");
    cache_copy("state.crash", "state");
    lmdb = open_lmdb(1 << 20, ORIGIN, &discarded);
    assert_false(discarded);
    assert_int_equal(count_lmdb(lmdb, 0, 200), 200);
    strata__cache_lmdb_close(&lmdb);

    /* The same, as another start of the system finds it. */
    struct {
        uint64_t origin;
        char boot[40];
        uint64_t clean, bytes, sum, checksum;
    } head;
    FILE *file = fopen(cache_file("state.crash"), "rb");
    assert_non_null(file);
    assert_int_equal(fread(&head, sizeof head, 1, file), 1);
    fclose(file);
    assert_int_equal(head.clean, 0);
    for (int other = 0; other < 2; other++) {
        head.boot[3] = other ? '~' : head.boot[3];
        head.checksum = XXH3_64bits(&head, sizeof head - sizeof head.checksum);
        file = fopen(cache_file("state"), "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(&head, sizeof head, 1, file), 1);
        fclose(file);
        cache_copy("data.crash", "data.mdb");
        lmdb = open_lmdb(1 << 20, ORIGIN, &discarded);
        assert_true(discarded == other);
        assert_int_equal(count_lmdb(lmdb, 0, 200), other ? 0 : 200);
        strata__cache_lmdb_close(&lmdb);
    }
}

#define AT_LEVEL(test) cmocka_unit_test_setup_teardown(test, cache_set_up, cache_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records),
        cmocka_unit_test(staleness),
        cmocka_unit_test(vectors),
        cmocka_unit_test(likelihoods),
        AT_LEVEL(uses),
        cmocka_unit_test(memory_resists_scans),
        cmocka_unit_test(memory_drops_stale),
        AT_LEVEL(lmdb_keeps),
        AT_LEVEL(lmdb_holds_its_limit),
        AT_LEVEL(lmdb_is_damaged),
        AT_LEVEL(lmdb_after_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
