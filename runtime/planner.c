/* Enumerating plans (planner.h). */
#include "planner.h"

#include <math.h>
#include <string.h>

/* ---- What places cost ---- */

static double disk_us(const struct strata__plan_input *in, size_t layer)
{
    double read = (double)in->layers[layer].weight_bytes / in->disk_bytes_per_s * 1e6;
    return fmax(read, in->layers[layer].host_us);
}

/* Room for reading: the two largest of the layers on disk. */
struct largest {
    uint64_t first, second;
};

static void take(struct largest *largest, uint64_t bytes)
{
    if (bytes > largest->first) {
        largest->second = largest->first;
        largest->first = bytes;
    } else if (bytes > largest->second) {
        largest->second = bytes;
    }
}

/* Accelerators in order, each once, in one stretch; disk behind the last layer of the host. */
static bool is_shaped(const struct strata__plan_input *in, const int *place)
{
    int last = -1;
    bool closed = false, on_disk = false;
    for (size_t i = 0; i < in->n_layers; i++) {
        if (place[i] >= 0) {
            if (place[i] >= (int)in->n_devices || place[i] < last || closed)
                return false;
            last = place[i];
            continue;
        }
        closed |= last >= 0;
        if (place[i] == STRATA__PLAN_HOST && on_disk)
            return false;
        on_disk |= place[i] == STRATA__PLAN_DISK;
    }
    return !on_disk || in->disk_bytes_per_s > 0;
}

double strata__plan_cost(const struct strata__plan_input *in, const int *place,
                         uint64_t *host_bytes)
{
    uint64_t used[STRATA__PLAN_DEVICES] = {0};
    struct largest reading = {0};
    double us = 0;
    *host_bytes = 0;
    if (!is_shaped(in, place))
        return -1;
    for (size_t i = 0; i < in->n_layers; i++) {
        const struct strata__plan_layer *layer = &in->layers[i];
        if (place[i] >= 0) {
            us += layer->device_us[place[i]] + (used[place[i]] ? 0 : in->devices[place[i]].use_us);
            used[place[i]] += layer->weight_bytes + layer->kv_bytes;
            continue;
        }
        *host_bytes += layer->kv_bytes;
        if (place[i] == STRATA__PLAN_HOST)
            *host_bytes += layer->weight_bytes;
        else
            take(&reading, layer->weight_bytes);
        us += place[i] == STRATA__PLAN_HOST ? layer->host_us : disk_us(in, i);
    }
    *host_bytes += reading.first + reading.second;
    for (size_t d = 0; d < in->n_devices; d++)
        if (used[d] > in->devices[d].bytes)
            return -1;
    return *host_bytes <= in->host_bytes ? us : -1;
}

/* ---- The best split of layers over the accelerators ---- */

/* For stretches that begin at `begin`: best[d][end], the least time of layers begin .. end - 1 on
 * accelerators up to d, INFINITY when they do not fit; from[d][end], where d's own part begins. */
struct split {
    double best[STRATA__PLAN_DEVICES][STRATA__PLAN_LAYERS + 1];
    uint16_t from[STRATA__PLAN_DEVICES][STRATA__PLAN_LAYERS + 1];
};

static void split_from(const struct strata__plan_input *in, size_t begin, struct split *split)
{
    for (size_t d = 0; d < in->n_devices; d++)
        for (size_t end = begin; end <= in->n_layers; end++) {
            double *best = &split->best[d][end], own = in->devices[d].use_us;
            uint64_t bytes = 0;
            *best = d ? split->best[d - 1][end] : end == begin ? 0 : INFINITY;
            split->from[d][end] = (uint16_t)end; /* d has nothing */
            for (size_t at = end; at-- > begin;) {
                own += in->layers[at].device_us[d];
                bytes += in->layers[at].weight_bytes + in->layers[at].kv_bytes;
                if (bytes > in->devices[d].bytes)
                    break;
                double before = d ? split->best[d - 1][at] : at == begin ? 0 : INFINITY;
                if (before + own < *best) {
                    *best = before + own;
                    split->from[d][end] = (uint16_t)at;
                }
            }
        }
}

static void set_split(const struct strata__plan_input *in, const struct split *split, size_t end,
                      int *place)
{
    for (size_t d = in->n_devices; d-- > 0;) {
        size_t from = split->from[d][end];
        for (size_t i = from; i < end; i++)
            place[i] = (int)d;
        end = from;
    }
}

/* ---- The host's part ---- */

/* Places of the layers outside begin .. end - 1: the fewest of them on disk, from the last one on.
 * Returns their time, INFINITY when they do not fit. */
static double place_on_host(const struct strata__plan_input *in, size_t begin, size_t end,
                            int *place)
{
    uint64_t resident = 0, kv = 0;
    double us = 0;
    for (size_t i = 0; i < in->n_layers; i++)
        if (i < begin || i >= end) {
            place[i] = STRATA__PLAN_HOST;
            resident += in->layers[i].weight_bytes;
            kv += in->layers[i].kv_bytes;
            us += in->layers[i].host_us;
        }
    struct largest reading = {0};
    for (size_t i = in->n_layers;
         resident + kv + reading.first + reading.second > in->host_bytes;) {
        if (in->disk_bytes_per_s <= 0)
            return INFINITY;
        do {
            if (i == 0)
                return INFINITY;
            i--;
        } while (i >= begin && i < end);
        place[i] = STRATA__PLAN_DISK;
        resident -= in->layers[i].weight_bytes;
        take(&reading, in->layers[i].weight_bytes);
        us += disk_us(in, i) - in->layers[i].host_us;
    }
    return us;
}

/* With as much as possible on disk, or where there is none, all of it on the host. */
static uint64_t least_bytes(const struct strata__plan_input *in)
{
    uint64_t all = 0, kv = 0;
    struct largest reading = {0};
    for (size_t i = 0; i < in->n_layers; i++) {
        all += in->layers[i].weight_bytes;
        kv += in->layers[i].kv_bytes;
        take(&reading, in->layers[i].weight_bytes);
    }
    uint64_t read = reading.first + reading.second;
    return kv + (in->disk_bytes_per_s > 0 && read < all ? read : all);
}

bool strata__plan(const struct strata__plan_input *in, struct strata__plan_output *out)
{
    static _Thread_local struct split split;
    static _Thread_local int place[STRATA__PLAN_LAYERS];
    double best = INFINITY;
    out->needed = least_bytes(in);
    for (size_t begin = 0; begin < in->n_layers; begin++) {
        if (in->n_devices)
            split_from(in, begin, &split);
        for (size_t end = begin; end <= (in->n_devices ? in->n_layers : begin); end++) {
            double devices = in->n_devices ? split.best[in->n_devices - 1][end] : 0;
            if ((end == begin && begin > 0) || !(devices < best))
                continue;
            double us = devices + place_on_host(in, begin, end, place);
            if (!(us < best))
                continue;
            best = us;
            if (in->n_devices)
                set_split(in, &split, end, place);
            memcpy(out->place, place, in->n_layers * sizeof *place);
        }
    }
    if (isinf(best))
        return false;
    out->us = strata__plan_cost(in, out->place, &out->host_bytes);
    return true;
}
