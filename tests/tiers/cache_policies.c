/* Replays of traces (cache_policies.h). */
#include "cache_policies.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *const policy_names[POLICIES] = {"lru", "s3_fifo", "tiny_lfu", "w_tiny_lfu", "belady"};

#define NONE UINT32_MAX
#define PERIOD 50000 /* of counts */

/* Lists of items by when they came, or were used last. */
struct list {
    uint32_t newest, oldest;
    size_t n;
};

struct replay {
    size_t n_items, capacity, since;
    uint32_t *newer, *older;
    uint8_t *in;    /* number of the list that has an item; 0: none */
    uint8_t *uses;  /* counts */
    uint32_t *next; /* Belady: when it is asked for again */
    struct list lists[4];
};

static void add(struct replay *r, unsigned number, uint32_t item)
{
    struct list *list = &r->lists[number];
    r->newer[item] = NONE;
    r->older[item] = list->n ? list->newest : NONE;
    if (list->n)
        r->newer[list->newest] = item;
    else
        list->oldest = item;
    list->newest = item;
    list->n++;
    r->in[item] = (uint8_t)number;
}

static void take(struct replay *r, uint32_t item)
{
    struct list *list = &r->lists[r->in[item]];
    if (r->newer[item] == NONE)
        list->newest = r->older[item];
    else
        r->older[r->newer[item]] = r->older[item];
    if (r->older[item] == NONE)
        list->oldest = r->newer[item];
    else
        r->newer[r->older[item]] = r->newer[item];
    list->n--;
    r->in[item] = 0;
}

static uint32_t take_oldest(struct replay *r, unsigned number)
{
    const uint32_t item = r->lists[number].oldest;
    take(r, item);
    return item;
}

static void count(struct replay *r, uint32_t item)
{
    if (r->uses[item] < UINT8_MAX)
        r->uses[item]++;
    if (++r->since == PERIOD) {
        for (size_t i = 0; i < r->n_items; i++)
            r->uses[i] /= 2;
        r->since = 0;
    }
}

/* ---- Policies: a request of an item; true: it is there ---- */

static bool lru(struct replay *r, uint32_t item)
{
    const bool hit = r->in[item];
    if (hit)
        take(r, item);
    else if (r->lists[1].n == r->capacity)
        take_oldest(r, 1);
    add(r, 1, item);
    return hit;
}

/* An item comes in when it was used more often than the one that would leave. */
static bool tiny_lfu(struct replay *r, uint32_t item)
{
    const bool hit = r->in[item];
    count(r, item);
    if (hit)
        take(r, item);
    else if (r->lists[1].n == r->capacity) {
        if (r->uses[item] <= r->uses[r->lists[1].oldest])
            return false;
        take_oldest(r, 1);
    }
    add(r, 1, item);
    return hit;
}

/* What is new stays in a window (list 2) of a hundredth, and then comes in as above; what is used
 * there is protected (list 3), four fifths of the rest. */
static bool w_tiny_lfu(struct replay *r, uint32_t item)
{
    const size_t window = r->capacity / 100 + 1, rest = r->capacity - window;
    const unsigned in = r->in[item];
    count(r, item);
    if (in) {
        take(r, item);
        add(r, in == 2 ? 2 : 3, item);
        if (r->lists[3].n > rest * 4 / 5)
            add(r, 1, take_oldest(r, 3));
        return true;
    }
    add(r, 2, item);
    if (r->lists[2].n <= window)
        return false;
    const uint32_t moved = take_oldest(r, 2);
    if (r->lists[1].n + r->lists[3].n < rest) {
        add(r, 1, moved);
        return false;
    }
    const unsigned list = r->lists[1].n ? 1 : 3;
    if (r->uses[moved] > r->uses[r->lists[list].oldest]) {
        take_oldest(r, list);
        add(r, 1, moved);
    }
    return false;
}

/* Lists: 1 main, 2 small, 3 ghosts; `uses` up to 3. */
static void s3_evict(struct replay *r)
{
    while (r->lists[2].n > r->capacity / 10) {
        const uint32_t item = take_oldest(r, 2);
        if (r->uses[item] > 1) {
            add(r, 1, item);
            if (r->lists[1].n + r->lists[2].n <= r->capacity)
                return;
            break;
        }
        add(r, 3, item);
        if (r->lists[3].n > r->capacity)
            take_oldest(r, 3);
        return;
    }
    while (r->lists[1].n) {
        const uint32_t item = take_oldest(r, 1);
        if (r->uses[item] == 0)
            return;
        r->uses[item]--;
        add(r, 1, item);
    }
}

static bool s3_fifo(struct replay *r, uint32_t item)
{
    const unsigned in = r->in[item];
    if (in == 1 || in == 2) {
        r->uses[item] += r->uses[item] < 3;
        return true;
    }
    if (in == 3)
        take(r, item);
    while (r->lists[1].n + r->lists[2].n >= r->capacity)
        s3_evict(r);
    r->uses[item] = 0;
    add(r, in == 3 ? 1 : 2, item);
    return false;
}

/* What is asked for last, of those there and the one that comes, is not kept: a scan. */
static bool belady(struct replay *r, uint32_t item, uint32_t next)
{
    const bool hit = r->in[item];
    r->next[item] = next;
    if (hit || next == NONE)
        return hit;
    if (r->lists[1].n == r->capacity) {
        uint32_t worst = r->lists[1].oldest;
        for (uint32_t at = worst; at != NONE; at = r->newer[at])
            if (r->next[at] > r->next[worst])
                worst = at;
        if (r->next[worst] < next)
            return false;
        take(r, worst);
    }
    add(r, 1, item);
    return false;
}

size_t policy_hits(enum policy policy, const uint32_t *trace, size_t n, size_t from, size_t n_items,
                   size_t capacity)
{
    struct replay r = {.n_items = n_items, .capacity = capacity};
    uint32_t *words = calloc(3 * n_items + n, sizeof *words), *next = words + 3 * n_items;
    uint8_t *bytes = calloc(2 * n_items, 1);
    size_t hits = 0;
    if (!words || !bytes)
        abort();
    r.newer = words;
    r.older = words + n_items;
    r.next = words + 2 * n_items;
    r.in = bytes;
    r.uses = bytes + n_items;
    memset(r.next, 0xff, n_items * sizeof *r.next);
    for (size_t i = n; i > 0; i--) {
        next[i - 1] = r.next[trace[i - 1]];
        r.next[trace[i - 1]] = (uint32_t)(i - 1);
    }
    for (size_t i = 0; i < n; i++) {
        const bool hit = policy == POLICY_LRU          ? lru(&r, trace[i])
                         : policy == POLICY_S3_FIFO    ? s3_fifo(&r, trace[i])
                         : policy == POLICY_TINY_LFU   ? tiny_lfu(&r, trace[i])
                         : policy == POLICY_W_TINY_LFU ? w_tiny_lfu(&r, trace[i])
                                                       : belady(&r, trace[i], next[i]);
        hits += hit && i >= from;
    }
    free(words);
    free(bytes);
    return hits;
}
