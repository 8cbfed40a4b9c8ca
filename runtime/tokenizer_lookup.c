/* Hash tables and sorted lists over the texts of a vocabulary. */
#include "tokenizer_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "memory.h"

/* ---- Whole texts ---- */

strata_status strata__text_table_create(struct strata__text_table *table, size_t count,
                                        const char *text, const size_t *at)
{
    size_t slots = 16;
    while (slots / 2 < count)
        slots *= 2;
    table->texts = (struct strata__texts){text, at};
    table->mask = slots - 1;
    table->seed = strata__hash_seed();
    return strata__calloc(&table->slots, slots, sizeof(uint32_t), "token index");
}

void strata__text_table_free(struct strata__text_table *table)
{
    strata__free(table->slots);
}

/* The slot that holds this text, or the empty one where it belongs. */
static size_t find_slot(const struct strata__text_table *table, const char *text, size_t size)
{
    const struct strata__texts *texts = &table->texts;
    size_t slot = strata__hash_bytes(text, size, table->seed) & table->mask;
    for (; table->slots[slot]; slot = (slot + 1) & table->mask) {
        size_t i = table->slots[slot] - 1;
        if (strata__texts_size(texts, i) == size &&
            memcmp(texts->text + texts->at[i], text, size) == 0)
            break;
    }
    return slot;
}

bool strata__text_table_add(struct strata__text_table *table, size_t i)
{
    const struct strata__texts *texts = &table->texts;
    size_t slot = find_slot(table, texts->text + texts->at[i], strata__texts_size(texts, i));
    if (table->slots[slot])
        return false;
    table->slots[slot] = (uint32_t)i + 1;
    return true;
}

int32_t strata__text_table_find(const struct strata__text_table *table, const char *text,
                                size_t size)
{
    return size ? (int32_t)table->slots[find_slot(table, text, size)] - 1 : -1;
}

/* ---- Prefixes ---- */

static int compare_texts(const void *a, const void *b, void *user)
{
    const struct strata__texts *texts = user;
    size_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    size_t left_size = strata__texts_size(texts, left);
    size_t right_size = strata__texts_size(texts, right);
    int order = memcmp(texts->text + texts->at[left], texts->text + texts->at[right],
                       left_size < right_size ? left_size : right_size);
    return order ? order : (left_size > right_size) - (left_size < right_size);
}

strata_status strata__prefixes_create(struct strata__prefixes *prefixes, size_t count,
                                      const char *text, const size_t *at,
                                      strata__text_filter *wanted, const void *user)
{
    size_t n = 0, *first = prefixes->first_byte;
    prefixes->texts = (struct strata__texts){text, at};
    for (size_t i = 0; i < count; i++)
        n += wanted(user, i);
    STRATA_TRY(strata__calloc(&prefixes->sorted, n, sizeof(uint32_t), "sorted tokens"));
    n = 0;
    for (size_t i = 0; i < count; i++)
        if (wanted(user, i))
            prefixes->sorted[n++] = (uint32_t)i;
    qsort_r(prefixes->sorted, n, sizeof(uint32_t), compare_texts, &prefixes->texts);
    for (size_t i = 0; i < n; i++)
        first[(unsigned char)text[at[prefixes->sorted[i]]] + 1]++;
    for (size_t byte = 0; byte < 256; byte++)
        first[byte + 1] += first[byte];
    return STRATA_OK;
}

void strata__prefixes_free(struct strata__prefixes *prefixes)
{
    strata__free(prefixes->sorted);
}

/* The first of sorted[low .. high) whose byte at `depth` is at least `byte`. */
static size_t lower_bound(const struct strata__prefixes *prefixes, size_t low, size_t high,
                          size_t depth, unsigned byte)
{
    const struct strata__texts *texts = &prefixes->texts;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)texts->text[texts->at[prefixes->sorted[middle]] + depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool strata__prefix_step(const struct strata__prefixes *prefixes, struct strata__prefix_walk *walk,
                         unsigned char byte, int32_t *id)
{
    if (walk->depth == 0) {
        walk->low = prefixes->first_byte[byte];
        walk->high = prefixes->first_byte[byte + 1];
    } else {
        walk->low = lower_bound(prefixes, walk->low, walk->high, walk->depth, byte);
        walk->high = lower_bound(prefixes, walk->low, walk->high, walk->depth, byte + 1u);
    }
    walk->depth++;
    *id = -1;
    if (walk->low == walk->high)
        return false;
    uint32_t first = prefixes->sorted[walk->low];
    if (strata__texts_size(&prefixes->texts, first) == walk->depth) {
        *id = (int32_t)first;
        walk->low++;
    }
    return true;
}

size_t strata__prefixes_match(const struct strata__prefixes *prefixes, const char *text,
                              size_t size, int32_t *id)
{
    struct strata__prefix_walk walk = {0, 0, 0};
    size_t best = 0;
    int32_t found;
    while (walk.depth < size &&
           strata__prefix_step(prefixes, &walk, (unsigned char)text[walk.depth], &found))
        if (found >= 0) {
            best = walk.depth;
            *id = found;
        }
    return best;
}
