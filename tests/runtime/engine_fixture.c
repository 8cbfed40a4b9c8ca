#include "engine_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cpu_features.h"

struct engine engine_open(const char *path, struct engine_options options)
{
    struct engine engine = {0};
    strata_config config;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.cpu_level = options.level ? options.level : strata_level_name(strata_cpu_level());
    config.blas = options.blas ? options.blas : "off";
    config.threads = options.threads ? options.threads : 1;
    config.no_tuning = !options.tuned;
    if (strata_runtime_open(&engine.runtime, &config) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    strata_model_options model;
    strata_model_options_default(&model);
    model.compute = options.compute;
    model.no_pack_cache = true;
    if (strata_model_load(engine.runtime, path, &model, &engine.model) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    if (strata_model_embeds(engine.model))
        return engine;
    strata_session_options session;
    strata_session_options_default(&session);
    session.context = options.context;
    if (strata_session_open(engine.model, &session, &engine.session) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return engine;
}

void engine_close(struct engine *engine)
{
    strata_session_close(&engine->session);
    strata_model_unref(&engine->model);
    strata_runtime_close(&engine->runtime);
}

struct engine engine_open_tiny(void)
{
    return engine_open(ENGINE_TINY, (struct engine_options){.threads = 2});
}

struct engine engine_open_tiny_f32(void)
{
    return engine_open(ENGINE_TINY,
                       (struct engine_options){.threads = 2, .compute = STRATA_COMPUTE_F32});
}

size_t engine_vocab(const struct engine *engine)
{
    return strata_model_info_get(engine->model).vocab;
}

int32_t *engine_some_ids(size_t n, size_t vocab)
{
    int32_t *ids = malloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)((i * 7919 + i * i * 31 + 17) % vocab);
    return ids;
}

const char *const *host_levels(size_t *n)
{
    static const char *names[STRATA_LEVEL_COUNT];
    *n = (size_t)strata_cpu_level() + 1;
    for (size_t i = 0; i < *n; i++)
        names[i] = strata_level_name((enum strata_level)i);
    return names;
}
