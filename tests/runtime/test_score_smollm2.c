/* strata_score on SmolLM2-135M-Instruct. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "golden_data.h"
#include "score_fixture.h"

/* A real model: as each alone, at every level of this host but the slow reference.  Activations of
 * 8 bits make more of another order of sums, layer by layer: golden/README.md has what they change.
 */
static void as_each_alone(void **state)
{
    (void)state;
    const char *path = known_model("smollm2-135m");
    if (!path) {
        print_message("skipped: model smollm2-135m is not there (run ./tools/fetch-models)\n");
        skip();
    }
    size_t n_levels;
    const char *const *levels = host_levels(&n_levels);
    for (size_t l = 1; l < n_levels; l++)
        for (int q8 = 0; q8 < 2; q8++) {
            struct engine_options options = {.level = levels[l],
                                             .threads = 2,
                                             .compute =
                                                 q8 ? STRATA_COMPUTE_Q8 : STRATA_COMPUTE_F32};
            struct engine engine = engine_open(path, options);
            struct forest f = forest_of(9, 12, 10, 4);
            forest_ground(engine.session, 60);
            float *found = forest_score(engine.session, &f);
            float *wanted = forest_alone(engine.session, &f);
            float far = farthest(found, wanted, f.total);
            float average = on_average(found, wanted, f.total);
            print_message("%s, %s: within %g, on average %g\n", levels[l], q8 ? "q8" : "f32",
                          (double)far, (double)average);
            assert_true(far <= (q8 ? 1 : 0.02f) && average <= (q8 ? 0.2f : 0.005f));
            free(wanted);
            free(found);
            forest_free(&f);
            engine_close(&engine);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_each_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
