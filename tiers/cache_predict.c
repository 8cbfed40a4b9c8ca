/* The predictor of uses (cache_predict.h). */
#include "cache_predict.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ROWS 4
#define WIDTH 65536u /* counters of a row */
#define USED_MUCH 4
#define WORTH 10 /* times as long as reading, that making it took */
#define PERIOD_LEAST 20000u
#define PERIOD_MOST 200000u

bool strata__is_hot(const struct strata__chance *c)
{
    return c->fits[0] && (c->room[0] || c->uses > 1);
}

bool strata__is_warm(const struct strata__chance *c)
{
    return c->fits[1] && (c->room[1] || c->uses > 1);
}

enum strata__likelihood strata__predict(const struct strata__chance *c)
{
    const bool hot = strata__is_hot(c), dear = c->cost_ms > WORTH * c->read_ms[STRATA__ON_DISK];
    if (hot && dear && c->uses >= USED_MUCH)
        return STRATA__CERTAIN;
    if (hot && c->cost_ms > WORTH * c->read_ms[STRATA__IN_LMDB])
        return STRATA__VERY_LIKELY;
    if (!dear)
        return STRATA__VERY_UNLIKELY;
    return strata__is_warm(c) ? STRATA__LIKELY : STRATA__UNLIKELY;
}

unsigned strata__levels_of(enum strata__likelihood likelihood)
{
    enum {
        MEMORY = 1 << STRATA__IN_MEMORY,
        LMDB = 1 << STRATA__IN_LMDB,
        DISK = 1 << STRATA__ON_DISK
    };
    static const unsigned levels[STRATA__LIKELIHOODS] = {
        [STRATA__VERY_UNLIKELY] = 0,
        [STRATA__UNLIKELY] = DISK,
        [STRATA__LIKELY] = LMDB | DISK,
        [STRATA__VERY_LIKELY] = MEMORY | LMDB,
        [STRATA__CERTAIN] = MEMORY | LMDB | DISK,
    };
    return levels[likelihood];
}

/* ---- Uses ---- */

struct strata__uses {
    atomic_uint_least64_t period;
    atomic_uint_least64_t since; /* the last halving */
    _Atomic uint8_t counts[ROWS][WIDTH];
};

/* What a file holds before the counts. */
struct head {
    uint64_t origin, checksum;
};

strata_status strata__uses_open(struct strata__uses **out)
{
    STRATA_TRY(strata__calloc(out, 1, sizeof **out, "uses of cached values"));
    atomic_store(&(*out)->period, PERIOD_LEAST);
    return STRATA_OK;
}

void strata__uses_close(struct strata__uses **uses)
{
    strata__free(*uses);
    *uses = NULL;
}

void strata__uses_set_values(struct strata__uses *uses, uint64_t values)
{
    const uint64_t wanted = values > PERIOD_MOST ? PERIOD_MOST : 5 * values,
                   period = wanted < PERIOD_LEAST  ? PERIOD_LEAST
                            : wanted > PERIOD_MOST ? PERIOD_MOST
                                                   : wanted;
    atomic_store_explicit(&uses->period, period, memory_order_relaxed);
}

/* Threads that count meanwhile may lose some of it. */
static void halve(struct strata__uses *uses)
{
    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < WIDTH; i++) {
            const uint8_t count = atomic_load_explicit(&uses->counts[row][i], memory_order_relaxed);
            if (count)
                atomic_store_explicit(&uses->counts[row][i], count / 2, memory_order_relaxed);
        }
}

static size_t place(uint64_t key, size_t row)
{
    return (key >> (16 * row)) % WIDTH;
}

unsigned strata__uses_of(const struct strata__uses *uses, uint64_t key)
{
    unsigned least = UINT8_MAX;
    for (size_t row = 0; row < ROWS; row++) {
        const unsigned count =
            atomic_load_explicit(&uses->counts[row][place(key, row)], memory_order_relaxed);
        least = count < least ? count : least;
    }
    return least;
}

unsigned strata__uses_add(struct strata__uses *uses, uint64_t key)
{
    const unsigned before = strata__uses_of(uses, key);
    uint64_t since = atomic_fetch_add(&uses->since, 1) + 1;
    if (since >= atomic_load_explicit(&uses->period, memory_order_relaxed) &&
        atomic_compare_exchange_strong(&uses->since, &since, 0))
        halve(uses);
    if (before == UINT8_MAX)
        return before;
    for (size_t row = 0; row < ROWS; row++) { /* only the least ones: others are of other keys */
        _Atomic uint8_t *count = &uses->counts[row][place(key, row)];
        if (atomic_load_explicit(count, memory_order_relaxed) == before)
            atomic_store_explicit(count, (uint8_t)(before + 1), memory_order_relaxed);
    }
    return before + 1;
}

/* ---- Their file ---- */

bool strata__uses_load(struct strata__uses *uses, const char *path, uint64_t origin)
{
    struct head head;
    uint8_t *counts;
    const size_t size = sizeof uses->counts;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || strata__calloc(&counts, size, 1, "uses of cached values") != STRATA_OK) {
        if (file >= 0)
            close(file);
        return false;
    }
    const bool whole = pread(file, &head, sizeof head, 0) == (ssize_t)sizeof head &&
                       pread(file, counts, size, sizeof head) == (ssize_t)size &&
                       head.origin == origin && head.checksum == XXH3_64bits(counts, size);
    for (size_t i = 0; i < size && whole; i++)
        atomic_store_explicit(&uses->counts[i / WIDTH][i % WIDTH], counts[i], memory_order_relaxed);
    strata__free(counts);
    close(file);
    return whole;
}

/* It is not written through to the disk: what is torn then is not read. */
bool strata__uses_save(const struct strata__uses *uses, const char *path, uint64_t origin)
{
    uint8_t *counts;
    const size_t size = sizeof uses->counts;
    if (strata__calloc(&counts, size, 1, "uses of cached values") != STRATA_OK)
        return false;
    for (size_t i = 0; i < size; i++)
        counts[i] = atomic_load_explicit(&uses->counts[i / WIDTH][i % WIDTH], memory_order_relaxed);
    const struct head head = {origin, XXH3_64bits(counts, size)};
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool done = file >= 0 && pwrite(file, &head, sizeof head, 0) == (ssize_t)sizeof head &&
                pwrite(file, counts, size, sizeof head) == (ssize_t)size;
    if (file >= 0 && close(file) != 0)
        done = false;
    strata__free(counts);
    return done;
}
