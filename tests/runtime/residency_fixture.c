#include "residency_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "model_writer.h"

int rig_setup(void **state)
{
    (void)state;
    gguf_folder_create();
    return 0;
}

int rig_teardown(void **state)
{
    (void)state;
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", gguf_path("home"));
    if (system(command) != 0)
        return 1;
    gguf_folder_remove();
    return 0;
}

/* The model with matrices of the type. */
static const char *write_model(strata_runtime *runtime, const char *type)
{
    struct model_spec spec = {.layers = RIG_LAYERS};
    const char *floats = model_write(&spec, "rig-F32.gguf");
    if (strcmp(type, "F32") == 0)
        return floats;
    char name[64];
    snprintf(name, sizeof name, "rig-%s.gguf", type);
    const char *out = gguf_path(name);
    strata_quantize_options options;
    strata_quantize_options_default(&options);
    options.type = type;
    options.pure = true;
    if (strata_quantize(runtime, floats, out, &options, NULL, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return out;
}

struct rig rig_open(struct rig_options options)
{
    struct rig rig = {0};
    strata_config config;
    strata_config_default(&config);
    config.threads = 2;
    config.no_tuning = true;
    config.fixed_placement = true;
    if (options.sim.memory_bytes == 0)
        options.sim.memory_bytes = 1 << 30;
    rig.sim = sim_open(options.sim);
    rig.device = sim_device(rig.sim);
    if (strata_runtime_open(&rig.runtime, &config) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    char home[4096];
    snprintf(home, sizeof home, "%s", gguf_path("home"));
    setenv("STRATA_HOME", home, 1);
    strata_model_options model;
    strata_model_options_default(&model);
    model.compute = options.compute;
    const char *path = write_model(rig.runtime, options.type);
    if (strata_model_load(rig.runtime, path, &model, &rig.model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    unsetenv("STRATA_HOME");
    strata_session_options session;
    strata_session_options_default(&session);
    session.kv_type = options.kv_type;
    if (strata_session_open(rig.model, &session, &rig.session) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    rig.vocab = strata_model_info_get(rig.model).vocab;
    strata_status status;
    rig.wanted = rig_run(&rig, NULL, NULL, &status);
    assert_int_equal(status, STRATA_OK);
    return rig;
}

void rig_close(struct rig *rig)
{
    free(rig->wanted);
    strata_session_close(&rig->session);
    strata_model_unref(&rig->model);
    strata_runtime_close(&rig->runtime);
    sim_close(rig->sim);
}

float *rig_run(struct rig *rig, rig_hook *hook, void *user, strata_status *status)
{
    enum { ALL = RIG_PROMPT + RIG_DECODED };
    int32_t *ids = engine_some_ids(ALL, rig->vocab);
    float *logits = calloc((RIG_DECODED + 1) * rig->vocab, sizeof *logits);
    assert_int_equal(strata_session_truncate(rig->session, 0), STRATA_OK);
    *status = STRATA_OK;
    for (unsigned i = 0; i <= RIG_DECODED && *status == STRATA_OK; i++) {
        if (hook)
            hook(rig, i, user);
        *status = strata_session_eval(rig->session, i ? &ids[RIG_PROMPT + i - 1] : ids,
                                      i ? 1 : RIG_PROMPT, STRATA_LOGITS_LAST);
        if (*status == STRATA_OK)
            memcpy(logits + i * rig->vocab, strata_session_logits(rig->session, 0),
                   rig->vocab * sizeof *logits);
    }
    free(ids);
    return logits;
}

void rig_same(const struct rig *rig, float *logits)
{
    size_t row = rig->vocab * sizeof *logits;
    for (unsigned i = 0; i <= RIG_DECODED; i++)
        if (memcmp(logits + i * rig->vocab, rig->wanted + i * rig->vocab, row) != 0)
            fail_msg("evaluation %u of a run with moves gives other logits", i);
    free(logits);
}

void rig_move(struct rig *rig, size_t layer, struct strata__device *device, bool on_disk)
{
    struct strata__moved moved;
    if (strata__layer_move(rig->model, layer, device, on_disk, "test", &moved) != STRATA_OK)
        fail_msg("layer %zu: %s", layer, strata_last_error());
}
