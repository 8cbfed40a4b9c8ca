/* What the ledger says of SmolLM2-135M, against what the system says of the process. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "golden_data.h"
#include "ledger.h"
#include "model.h"
#include "packed_cache.h"

#define SLACK (UINT64_C(24) << 20)

static const char *model_or_skip(void)
{
    const char *path = known_model("smollm2-135m");
    if (!path) {
        print_message("skipped: model smollm2-135m is not there (run ./tools/fetch-models)\n");
        skip();
    }
    return path;
}

/* Takes what nobody has mapped out of the page cache: only pages that strata asks for are there. */
static void drop_file(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    fdatasync(descriptor);
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
}

/* The model with its packed weights on disk and nothing of its files in memory. */
static strata_runtime *open_fresh(const char *path, strata_model **model)
{
    strata_runtime *runtime;
    strata_config config;
    strata_config_default(&config);
    config.threads = 2;
    config.no_tuning = true;
    for (int i = 0; i < 2; i++) {
        char packed[4096];
        if (strata_runtime_open(&runtime, &config) != STRATA_OK ||
            strata_model_load(runtime, path, NULL, model) != STRATA_OK)
            fail_msg("%s", strata_last_error());
        if (!(*model)->packed.file) {
            print_message("skipped: there is no folder for packed weights\n");
            skip();
        }
        snprintf(packed, sizeof packed, "%s", (*model)->packed.file->path);
        if (i == 1)
            break;
        strata_model_unref(model);
        strata_runtime_close(&runtime);
        drop_file(packed);
        drop_file(path);
    }
    return runtime;
}

/* Bytes of this process that are no program's or library's: anonymous memory as smaps has it, and
 * the pages of mapped models, in the page cache, as mincore has them. */
static uint64_t measured(void)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[4096];
    uint64_t bytes = 0;
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to, kb;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 &&
            (strstr(line, ".gguf") || strstr(line, ".packed")))
            bytes += strata__resident_bytes((void *)from, to - from);
        if (sscanf(line, "Anonymous: %lu kB", &kb) == 1)
            bytes += kb * 1024;
    }
    fclose(maps);
    return bytes;
}

static bool near(uint64_t ledger, uint64_t process)
{
    uint64_t more = ledger > process ? ledger - process : process - ledger;
    return more <= process * 3 / 100 + SLACK;
}

static void is_near(uint64_t ledger, uint64_t process, const char *what)
{
    print_message("%s: the ledger has %.1f MB, the system %.1f MB\n", what, (double)ledger / 1e6,
                  (double)process / 1e6);
    assert_true(near(ledger, process));
}

static strata_memory *read_memory(strata_runtime *runtime)
{
    strata_memory *memory;
    assert_int_equal(strata_memory_read(runtime, &memory), STRATA_OK);
    return memory;
}

/* With a full context all that is charged is in memory; what is not used is known not to be. */
static void the_ledger_is_true(void **state)
{
    (void)state;
    const char *path = model_or_skip();
    strata_model *model;
    strata_session *sessions[3];
    strata_session_options options;
    strata_runtime *runtime = open_fresh(path, &model);
    strata_session_options_default(&options);
    options.context = 1024;
    size_t vocab = strata_model_info_get(model).vocab;
    int32_t *ids = malloc(vocab * sizeof *ids);
    for (size_t i = 0; i < vocab; i++) /* each once: the table of embeddings is read whole */
        ids[i] = (int32_t)(i * 48 % vocab + i * 48 / vocab);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(strata_session_open(model, &options, &sessions[i]), STRATA_OK);
        assert_int_equal(strata_session_eval(sessions[i], ids + i * 1024, 1024, STRATA_LOGITS_NONE),
                         STRATA_OK);
    }
    strata_memory *memory = read_memory(runtime);
    is_near(memory->components[0].used_bytes, measured(), "charged, a full context");
    is_near(memory->resident_bytes, measured(), "resident, a full context");
    is_near(memory->process_bytes, measured(), "of the process");
    strata_memory_free(&memory);

    options.context = 8192;
    strata_session *idle;
    assert_int_equal(strata_session_open(model, &options, &idle), STRATA_OK);
    memory = read_memory(runtime);
    assert_true(memory->components[0].used_bytes > measured() + 150000000); /* a promise */
    is_near(memory->resident_bytes, measured(), "resident, with an empty context");
    strata_memory_free(&memory);
    strata_session_close(&idle);

    for (int i = 0; i < 3; i++)
        strata_session_close(&sessions[i]);
    strata_model_unref(&model);
    memory = read_memory(runtime);
    /* Of what is freed the heap keeps some; the governor's thread gives it back every 5 s. */
    for (int i = 0; i < 200 && !near(memory->components[0].used_bytes, measured()); i++)
        usleep(100000);
    is_near(memory->components[0].used_bytes, measured(), "after all");
    assert_int_equal(memory->components[0].used_bytes, memory->components[1].used_bytes);
    strata_memory_free(&memory);
    strata_runtime_close(&runtime);
    free(ids);
}

/* What optimising says it gained, the system says too. */
static void optimising_gains(void **state)
{
    (void)state;
    const char *path = model_or_skip();
    strata_model *model;
    strata_session *session;
    strata_runtime *runtime = open_fresh(path, &model);
    size_t vocab = strata_model_info_get(model).vocab;
    int32_t *ids = engine_some_ids(2048, vocab);
    assert_int_equal(strata_session_open(model, NULL, &session), STRATA_OK);
    assert_int_equal(strata_session_eval(session, ids, 2048, STRATA_LOGITS_NONE), STRATA_OK);
    assert_int_equal(strata_session_truncate(session, 100), STRATA_OK);
    assert_int_equal(strata_session_eval(session, ids, 100, STRATA_LOGITS_LAST), STRATA_OK);
    float *wanted = malloc(vocab * sizeof *wanted);
    memcpy(wanted, strata_session_logits(session, 0), vocab * sizeof *wanted);
    assert_int_equal(strata_session_truncate(session, 100), STRATA_OK);
    uint64_t before = measured();
    strata_memory_optimised *optimised;
    assert_int_equal(strata_memory_optimise(runtime, NULL, &optimised), STRATA_OK);
    uint64_t after = measured();
    bool unloaded = false, gave_back = false;
    for (size_t i = 0; i < optimised->n_actions; i++) {
        const strata_memory_action *a = &optimised->actions[i];
        print_message("%s: predicted %.1f MB, freed %.1f, measured %.1f, %.1f ms\n", a->what,
                      (double)a->predicted_bytes / 1e6, (double)a->freed_bytes / 1e6,
                      (double)a->measured_bytes / 1e6, a->ms);
        if (!strstr(a->what, "unload") && !strstr(a->what, "keys"))
            continue;
        unloaded |= strstr(a->what, "unload") != NULL;
        gave_back |= strstr(a->what, "keys") != NULL;
        assert_true(a->freed_bytes > 30000000);
        /* What must stay charged to run again left memory as well. */
        assert_true(a->measured_bytes > (int64_t)(a->freed_bytes / 10 * 8));
        assert_true(a->predicted_bytes * 10 > a->freed_bytes * 8);
    }
    assert_true(unloaded && gave_back);
    print_message("the system: %.1f MB before, %.1f after\n", (double)before / 1e6,
                  (double)after / 1e6);
    assert_true(before > after + optimised->freed_bytes / 10 * 8);
    strata_memory_optimised_free(&optimised);
    assert_int_equal(strata_session_eval(session, ids, 100, STRATA_LOGITS_LAST), STRATA_OK);
    assert_memory_equal(wanted, strata_session_logits(session, 0), vocab * sizeof *wanted);
    strata_session_close(&session);
    strata_model_unref(&model);
    strata_runtime_close(&runtime);
    free(wanted);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ledger_is_true),
        cmocka_unit_test(optimising_gains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
