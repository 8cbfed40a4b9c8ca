/* Plans are optimal: on small cases every assignment of places is tried. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "planner.h"

enum { MOST_LAYERS = 6, MOST_DEVICES = 3 };

static unsigned state_of_random = 1;

static unsigned below(unsigned n)
{
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (state_of_random >> 12) % n;
}

struct problem {
    struct strata__plan_layer layers[MOST_LAYERS];
    struct strata__plan_device devices[MOST_DEVICES];
    struct strata__plan_input input;
};

/* Few different values, so that equal costs and exact fits are common. */
static void make_problem(struct problem *p)
{
    *p = (struct problem){0};
    p->input = (struct strata__plan_input){.layers = p->layers,
                                           .n_layers = 1 + below(MOST_LAYERS),
                                           .devices = p->devices,
                                           .n_devices = below(MOST_DEVICES + 1),
                                           .host_bytes = 10 * below(40),
                                           .disk_bytes_per_s = below(3) ? 1e6 * (1 + below(4)) : 0};
    bool alike = below(2) == 0;
    for (size_t i = 0; i < p->input.n_layers; i++) {
        struct strata__plan_layer *layer = &p->layers[i];
        if (alike && i > 0) {
            *layer = p->layers[0];
            continue;
        }
        layer->weight_bytes = 10 * (1 + below(6));
        layer->kv_bytes = 10 * below(3);
        layer->host_us = 5 * (1 + below(8));
        for (size_t d = 0; d < p->input.n_devices; d++)
            layer->device_us[d] = 1 + below(12);
    }
    for (size_t d = 0; d < p->input.n_devices; d++)
        p->devices[d] = (struct strata__plan_device){10 * below(25), below(3) * 4.0};
}

/* The least cost of all assignments; negative: none fits. */
static double brute_force(const struct strata__plan_input *in)
{
    int place[MOST_LAYERS];
    size_t choices = in->n_devices + 2, all = 1;
    double best = -1;
    for (size_t i = 0; i < in->n_layers; i++)
        all *= choices;
    for (size_t code = 0; code < all; code++) {
        size_t rest = code;
        for (size_t i = 0; i < in->n_layers; i++) {
            place[i] = (int)(rest % choices) - 2;
            rest /= choices;
        }
        uint64_t bytes;
        double us = strata__plan_cost(in, place, &bytes);
        if (us >= 0 && (best < 0 || us < best))
            best = us;
    }
    return best;
}

static void plans_are_optimal(void **state)
{
    (void)state;
    static struct strata__plan_output out;
    unsigned planned = 0, refused = 0, on_disk = 0, on_devices = 0;
    for (int round = 0; round < 3000; round++) {
        struct problem p;
        make_problem(&p);
        double wanted = brute_force(&p.input);
        bool found = strata__plan(&p.input, &out);
        assert_int_equal(found, wanted >= 0);
        if (!found) {
            refused++;
            continue;
        }
        uint64_t bytes;
        planned++;
        assert_true(fabs(out.us - wanted) < 1e-6);
        assert_true(fabs(strata__plan_cost(&p.input, out.place, &bytes) - wanted) < 1e-6);
        assert_true(bytes == out.host_bytes && bytes <= p.input.host_bytes);
        for (size_t i = 0; i < p.input.n_layers; i++) {
            on_disk += out.place[i] == STRATA__PLAN_DISK;
            on_devices += out.place[i] >= 0;
        }
    }
    assert_true(planned > 1000 && refused > 100 && on_disk > 100 && on_devices > 1000);
}

/* Without accelerators `needed` is exactly what must be there. */
static void what_is_needed(void **state)
{
    (void)state;
    static struct strata__plan_output out;
    for (int round = 0; round < 500; round++) {
        struct problem p;
        make_problem(&p);
        p.input.n_devices = 0;
        p.input.host_bytes = 0;
        (void)strata__plan(&p.input, &out);
        uint64_t needed = out.needed;
        assert_true(needed > 0);
        p.input.host_bytes = needed;
        assert_true(strata__plan(&p.input, &out));
        p.input.host_bytes = needed - 1;
        assert_false(strata__plan(&p.input, &out));
    }
}

/* Eighty layers over four accelerators, where the answer is plain. */
static void large_models(void **state)
{
    (void)state;
    static struct strata__plan_output out;
    static struct strata__plan_layer layers[81];
    struct strata__plan_device devices[4] = {{200, 1}, {200, 1}, {200, 1}, {200, 1}};
    for (size_t i = 0; i < 81; i++)
        layers[i] = (struct strata__plan_layer){10, 0, 100, {1, 1, 1, 1}};
    struct strata__plan_input in = {layers, 81, devices, 4, 1000, 1e6};
    assert_true(strata__plan(&in, &out));
    assert_true(fabs(out.us - (80 * 1 + 100 + 4)) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_optimal),
        cmocka_unit_test(what_is_needed),
        cmocka_unit_test(large_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
