/* Where frames of records are, by their ids: a table with open addressing (cache_disk_parts.h). */
#include "cache_disk_parts.h"
#include "memory.h"

#define SLOTS_LEAST 1024

static size_t slot_of(const struct strata__cache_disk *disk, uint64_t id)
{
    return (size_t)(id & (disk->n_slots - 1));
}

struct strata__frame_place *strata__place_find(const struct strata__cache_disk *disk,
                                               const struct strata__cache_id *id)
{
    if (disk->n_slots == 0)
        return NULL;
    for (size_t i = slot_of(disk, id->low); disk->places[i].size; i = (i + 1) % disk->n_slots)
        if (disk->places[i].id == id->low)
            return &disk->places[i];
    return NULL;
}

static void put(struct strata__cache_disk *disk, const struct strata__frame_place *place)
{
    size_t i = slot_of(disk, place->id);
    while (disk->places[i].size)
        i = (i + 1) % disk->n_slots;
    disk->places[i] = *place;
}

static strata_status grow(struct strata__cache_disk *disk)
{
    struct strata__frame_place *before = disk->places, *places;
    const size_t n = disk->n_slots, more = n ? 2 * n : SLOTS_LEAST;
    STRATA_TRY(strata__calloc(&places, more, sizeof *places, "places of cached values"));
    disk->places = places;
    disk->n_slots = more;
    for (size_t i = 0; i < n; i++)
        if (before[i].size)
            put(disk, &before[i]);
    strata__free(before);
    return STRATA_OK;
}

strata_status strata__place_put(struct strata__cache_disk *disk, const struct strata__cache_id *id,
                                const struct strata__frame_place *place)
{
    struct strata__frame_place *before = strata__place_find(disk, id);
    if (before)
        strata__place_remove(disk, before);
    if (disk->n_places + 1 > disk->n_slots / 2)
        STRATA_TRY(grow(disk));
    put(disk, place);
    disk->n_places++;
    disk->live_bytes += place->size;
    disk->raw_bytes += place->raw;
    return STRATA_OK;
}

/* Those behind it move up where they are found sooner. */
void strata__place_remove(struct strata__cache_disk *disk, struct strata__frame_place *place)
{
    size_t hole = (size_t)(place - disk->places);
    disk->live_bytes -= place->size;
    disk->raw_bytes -= place->raw;
    disk->n_places--;
    for (size_t i = (hole + 1) % disk->n_slots; disk->places[i].size; i = (i + 1) % disk->n_slots) {
        const size_t wanted = slot_of(disk, disk->places[i].id);
        if ((i - wanted) % disk->n_slots >= (i - hole) % disk->n_slots) {
            disk->places[hole] = disk->places[i];
            hole = i;
        }
    }
    disk->places[hole] = (struct strata__frame_place){0};
}
