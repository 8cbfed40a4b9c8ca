/* From options to a model that can compute. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_json.h"
#include "model_names.h"
#include "status_socket.h"

strata_compute cli_compute(const struct cli_common *common)
{
    const char *word = common->compute ? common->compute : "q8";
    return strcmp(word, "f32") == 0       ? STRATA_COMPUTE_F32
           : strcmp(word, "dynamic") == 0 ? STRATA_COMPUTE_DYNAMIC
                                          : STRATA_COMPUTE_Q8;
}

strata_config cli_config(const struct cli_common *common)
{
    strata_config config;
    strata_config_default(&config);
    config.threads = (int)common->threads;
    config.memory_limit = common->memory_limit;
    config.device = common->device;
    config.budgets = common->budgets;
    config.n_budgets = common->n_budgets;
    config.log = cli_log;
    config.log_user = (void *)common;
    return config;
}

/* A line of the event log.  One that cannot be written is left out, and the rest is tried. */
static void log_event(void *user, const strata_event *event)
{
    FILE *file = user;
    json_t *object = engine_json_event(event);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text && (fprintf(file, "%s\n", text) < 0 || fflush(file) != 0))
        clearerr(file);
    free(text);
    json_decref(object);
}

static int open_runtime(struct cli_engine *engine, const struct cli_common *common)
{
    strata_config config = cli_config(common);
    if (config.threads == 0 && engine->half_the_cores)
        config.threads = STRATA_THREADS_HALF;
    if (common->event_log) {
        engine->event_log = fopen(common->event_log, "ae");
        if (!engine->event_log) {
            cli_message("%s: %s", common->event_log, strerror(errno));
            return CLI_FAILED;
        }
        config.on_event = log_event;
        config.event_user = engine->event_log;
    }
    strata_status result = strata_runtime_open(&engine->runtime, &config);
    return result == STRATA_OK ? CLI_DONE : cli_fail(result);
}

static int load_model(struct cli_engine *engine, const struct cli_common *common, const char *path)
{
    strata_model_options options;
    strata_model_options_default(&options);
    options.compute = cli_compute(common);
    options.no_pack_cache = common->no_pack_cache;
    options.component = engine->component;
    int status = open_runtime(engine, common);
    if (status != CLI_DONE)
        return status;
    strata_status result = strata_model_load(engine->runtime, path, &options, &engine->model);
    if (result != STRATA_OK)
        return cli_fail(result);
    engine->tokenizer = strata_model_tokenizer(engine->model);
    bool q8 = common->kv_type && strcmp(common->kv_type, "q8_0") == 0;
    engine->kv_type = q8 ? STRATA_KV_Q8_0 : STRATA_KV_F16;
    engine->socket = status_socket_open(engine, common, common->command);
    return CLI_DONE;
}

int cli_engine_load(struct cli_engine *engine, const struct cli_common *common)
{
    int status;
    char *path = model_names_resolve(common->model, &status);
    if (!path)
        return status;
    status = load_model(engine, common, path);
    free(path);
    return status;
}

int cli_engine_any(struct cli_engine *engine, const struct cli_common *common)
{
    if (!common->model)
        return open_runtime(engine, common);
    int status = cli_engine_load(engine, common);
    strata_session_options options = cli_engine_session_options(engine, (unsigned)common->context);
    if (status != CLI_DONE)
        return status;
    strata_status result = strata_session_open(engine->model, &options, &engine->session);
    /* Models of sentence vectors have none. */
    return result == STRATA_OK || result == STRATA_E_UNSUPPORTED ? CLI_DONE : cli_fail(result);
}

strata_session_options cli_engine_session_options(const struct cli_engine *engine, unsigned context)
{
    strata_session_options options;
    strata_session_options_default(&options);
    options.context = context;
    options.kv_type = engine->kv_type;
    return options;
}

int cli_engine_session(struct cli_engine *engine, unsigned context)
{
    strata_session_options options = cli_engine_session_options(engine, context);
    strata_status result = strata_session_open(engine->model, &options, &engine->session);
    if (result != STRATA_OK)
        return cli_fail(result);
    cli_interrupts(engine->session);
    return CLI_DONE;
}

int cli_engine_open(struct cli_engine *engine, const struct cli_common *common)
{
    int status = cli_engine_load(engine, common);
    return status == CLI_DONE ? cli_engine_session(engine, (unsigned)common->context) : status;
}

void cli_engine_close(struct cli_engine *engine)
{
    cli_interrupts(NULL);
    status_socket_close(&engine->socket);
    strata_session_close(&engine->session);
    strata_model_unref(&engine->model);
    strata_runtime_close(&engine->runtime);
    if (engine->event_log && fclose(engine->event_log) != 0)
        cli_message("the event log is not whole: %s", strerror(errno));
    engine->event_log = NULL;
    engine->tokenizer = NULL;
}

strata_generate_options cli_sampling(const struct cli_common *common)
{
    strata_generate_options how;
    strata_generate_options_default(&how);
    how.max_tokens = (size_t)common->max_tokens;
    how.temperature = (float)common->temperature;
    how.top_k = (unsigned)common->top_k;
    how.top_p = (float)common->top_p;
    how.min_p = (float)common->min_p;
    how.repeat_penalty = (float)common->repeat_penalty;
    how.seed = common->seed;
    return how;
}

strata_status cli_tokenize(const strata_tokenizer *tokenizer, const char *text, size_t size,
                           unsigned flags, int32_t **ids, size_t *count)
{
    size_t capacity = size / 2 + 16;
    int32_t *buffer = NULL;
    for (;;) {
        int32_t *grown = realloc(buffer, capacity * sizeof *buffer);
        if (!grown) {
            free(buffer);
            return STRATA_E_NOMEM;
        }
        buffer = grown;
        strata_status status =
            strata_tokenize(tokenizer, text, size, flags, buffer, capacity, count);
        if (status != STRATA_OK) {
            free(buffer);
            return status;
        }
        if (*count <= capacity)
            break;
        capacity = *count;
    }
    *ids = buffer;
    return STRATA_OK;
}

strata_status cli_detokenize(const strata_tokenizer *tokenizer, const int32_t *ids, size_t count,
                             char **text, size_t *size)
{
    strata_status status = strata_detokenize(tokenizer, ids, count, NULL, 0, size);
    if (status != STRATA_OK)
        return status;
    char *buffer = malloc(*size + 1);
    if (!buffer)
        return STRATA_E_NOMEM;
    status = strata_detokenize(tokenizer, ids, count, buffer, *size, size);
    if (status != STRATA_OK) {
        free(buffer);
        return status;
    }
    buffer[*size] = 0;
    *text = buffer;
    return STRATA_OK;
}
