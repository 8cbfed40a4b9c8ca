/* strata bench: speed of a whole model; with a suite's name, the program strata-bench beside this
 * one.
 *
 * Prefill evaluates a prompt of N tokens at once after DEPTH tokens in the cache; decode evaluates
 * N tokens one at a time after DEPTH.  With a batch, every sequence has its own cache: prefill
 * takes them one after the other, decode all together.  Every repetition starts again at DEPTH; one
 * more before them is not counted.  Sampling is not part of either. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json_lines.h"

struct options {
    struct cli_common common;
    uint64_t prompt, new_tokens, batch, depth, repetitions;
    double bandwidth;
};

/* Measurements of one phase. */
struct phase {
    const char *name;
    size_t prompt, new_tokens;
    double *ms; /* of each evaluation */
    size_t n;
    double p50, p95, tokens_per_s, bytes_per_s;
};

struct bench {
    const struct options *options;
    struct cli_engine engine;
    strata_session *sessions[STRATA_BATCH_MAX]; /* options->batch of them; the first is engine's */
    int32_t *ids;                               /* as many as any evaluation needs */
};

/* ---- Measuring ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of n > 0 sorted values, between the two nearest ranks. */
static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

/* The prompt ids[0..count) for every sequence. */
static strata_status prefill(const struct bench *bench, const int32_t *ids, size_t count)
{
    strata_status status = STRATA_OK;
    for (size_t i = 0; status == STRATA_OK && i < bench->options->batch; i++)
        status = strata_session_eval(bench->sessions[i], ids, count, STRATA_LOGITS_LAST);
    return status;
}

/* One token for every sequence. */
static strata_status decode(const struct bench *bench, const int32_t *id)
{
    size_t batch = (size_t)bench->options->batch;
    if (batch == 1)
        return strata_session_eval(bench->sessions[0], id, 1, STRATA_LOGITS_LAST);
    int32_t ids[STRATA_BATCH_MAX];
    for (size_t i = 0; i < batch; i++)
        ids[i] = *id;
    return strata_batch_eval(bench->sessions, ids, batch);
}

/* Evaluates ids[0..count) and returns the milliseconds it took. */
static strata_status timed_eval(const struct bench *bench, const struct phase *phase,
                                const int32_t *ids, size_t count, double *ms)
{
    double start = cli_now_ms();
    strata_status status = phase->prompt ? prefill(bench, ids, count) : decode(bench, ids);
    *ms = cli_now_ms() - start;
    return status;
}

/* Repetitions of `steps` evaluations of `count` tokens each; the first one is not kept. */
static strata_status measure(const struct bench *bench, struct phase *phase, size_t count,
                             size_t steps)
{
    size_t depth = (size_t)bench->options->depth;
    size_t repetitions = (size_t)bench->options->repetitions;
    strata_status status = STRATA_OK;
    for (size_t r = 0; status == STRATA_OK && r <= repetitions; r++) {
        cli_progress(&bench->options->common, phase->name, r, repetitions + 1);
        for (size_t i = 0; status == STRATA_OK && i < bench->options->batch; i++)
            status = strata_session_truncate(bench->sessions[i], depth);
        double *out = r ? phase->ms + (r - 1) * steps : phase->ms;
        for (size_t s = 0; status == STRATA_OK && s < steps; s++)
            status = timed_eval(bench, phase, bench->ids + depth + s * count, count, &out[s]);
    }
    cli_progress(&bench->options->common, phase->name, 1, 1);
    phase->n = repetitions * steps;
    return status;
}

/* Medians and rates.  Bytes of an evaluation: all weights once (prefill of a batch: once a
 * sequence), and the keys and values that its tokens see. */
static void summarise(const struct bench *bench, struct phase *phase, size_t count, size_t steps)
{
    strata_model_info info = strata_model_info_get(bench->engine.model);
    double batch = (double)bench->options->batch;
    double element = bench->engine.kv_type == STRATA_KV_Q8_0 ? 34.0 / 32 : 2;
    double row = (double)info.layers * info.kv_heads * info.head_dim * 2 * element;
    double seen = (double)bench->options->depth + (double)(count * steps) / 2;
    double bytes = (double)info.weight_bytes * (phase->prompt ? batch : 1) + batch * row * seen;
    qsort(phase->ms, phase->n, sizeof *phase->ms, by_value);
    phase->p50 = quantile(phase->ms, phase->n, 0.5);
    phase->p95 = quantile(phase->ms, phase->n, 0.95);
    phase->tokens_per_s = 1e3 * batch * (double)count / phase->p50;
    phase->bytes_per_s = 1e3 * bytes / phase->p50;
}

static strata_status run_phase(const struct bench *bench, struct phase *phase)
{
    size_t count = phase->prompt ? phase->prompt : 1;
    size_t steps = phase->prompt ? 1 : phase->new_tokens;
    strata_status status = measure(bench, phase, count, steps);
    if (status == STRATA_OK)
        summarise(bench, phase, count, steps);
    return status;
}

/* ---- Printing ---- */

static json_t *phase_json(const struct bench *bench, const struct phase *phase)
{
    const struct options *o = bench->options;
    json_t *fraction = o->bandwidth > 0 && !phase->prompt
                           ? json_real(phase->bytes_per_s / o->bandwidth)
                           : json_null();
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:f, s:f, s:f, s:f, s:o}", "phase",
                     phase->name, "prompt", (json_int_t)phase->prompt, "new",
                     (json_int_t)phase->new_tokens, "batch", (json_int_t)o->batch, "depth",
                     (json_int_t)o->depth, "threads", strata_threads(bench->engine.runtime),
                     "tokens_per_s", phase->tokens_per_s, "ms_p50", phase->p50, "ms_p95",
                     phase->p95, "bytes_per_s", phase->bytes_per_s, "of_roofline", fraction);
}

static json_t *host_json(const struct bench *bench)
{
    const strata_runtime *runtime = bench->engine.runtime;
    return json_pack("{s:s, s:s, s:s?, s:i}", "version", strata_version(), "isa",
                     strata_isa_name(runtime), "blas", strata_blas_name(runtime), "cores",
                     (int)sysconf(_SC_NPROCESSORS_ONLN));
}

static int print_json(const struct bench *bench, const struct phase *phases, size_t n)
{
    json_t *results = json_array();
    for (size_t i = 0; results && i < n; i++)
        results = json_push(results, phase_json(bench, &phases[i]));
    return json_print(json_pack("{s:o, s:o}", "host", host_json(bench), "results", results));
}

static void print_text(const struct bench *bench, const struct phase *phases, size_t n)
{
    const struct options *o = bench->options;
    printf("kernels %s, BLAS %s, %d threads, depth %zu, batch %zu\n",
           strata_isa_name(bench->engine.runtime),
           strata_blas_name(bench->engine.runtime) ? strata_blas_name(bench->engine.runtime)
                                                   : "none",
           strata_threads(bench->engine.runtime), (size_t)o->depth, (size_t)o->batch);
    printf("%-8s %8s %12s %10s %10s %10s\n", "phase", "tokens", "tokens/s", "ms p50", "ms p95",
           "GB/s");
    for (size_t i = 0; i < n; i++) {
        const struct phase *p = &phases[i];
        printf("%-8s %8zu %12.1f %10.2f %10.2f %10.2f", p->name, p->prompt + p->new_tokens,
               p->tokens_per_s, p->p50, p->p95, p->bytes_per_s / 1e9);
        if (o->bandwidth > 0 && !p->prompt)
            printf("  (%.0f %% of the bandwidth)", 100 * p->bytes_per_s / o->bandwidth);
        putchar('\n');
    }
}

/* ---- The command ---- */

/* Runs strata-bench from this program's folder; returns only when that fails. */
static int run_suite(char **argv)
{
    char path[4096];
    static const char beside[] = "strata-bench";
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof beside);
    if (size < 0) {
        cli_message("/proc/self/exe: %s", strerror(errno));
        return CLI_FAILED;
    }
    path[size] = 0;
    strcpy(strrchr(path, '/') + 1, beside);
    argv[0] = path;
    execv(path, argv);
    cli_message("%s: %s (a build with STRATA_BENCH=ON makes it)", path, strerror(errno));
    return CLI_FAILED;
}

/* Opens the sessions of a batch beside the engine's own. */
static int open_sessions(struct bench *bench, unsigned context)
{
    strata_session_options options = cli_engine_session_options(&bench->engine, context);
    int status = cli_engine_session(&bench->engine, context);
    bench->sessions[0] = bench->engine.session;
    for (size_t i = 1; status == CLI_DONE && i < bench->options->batch; i++) {
        strata_status opened =
            strata_session_open(bench->engine.model, &options, &bench->sessions[i]);
        status = opened == STRATA_OK ? CLI_DONE : cli_fail(opened);
    }
    return status;
}

/* Fills ids and the caches up to the depth. */
static int prepare(struct bench *bench, size_t total)
{
    size_t depth = (size_t)bench->options->depth;
    size_t vocab = strata_model_info_get(bench->engine.model).vocab;
    bench->ids = malloc(total * sizeof *bench->ids);
    if (!bench->ids)
        return cli_no_memory();
    for (size_t i = 0; i < total; i++)
        bench->ids[i] = (int32_t)(i * 7919 % vocab);
    strata_status status = STRATA_OK;
    for (size_t i = 0; depth && status == STRATA_OK && i < bench->options->batch; i++)
        status = strata_session_eval(bench->sessions[i], bench->ids, depth, STRATA_LOGITS_NONE);
    return status == STRATA_OK ? CLI_DONE : cli_fail(status);
}

static int run_model(const struct options *options)
{
    struct bench bench = {.options = options};
    struct phase phases[2];
    size_t n = 0;
    if (options->prompt)
        phases[n++] = (struct phase){.name = "prefill", .prompt = (size_t)options->prompt};
    if (options->new_tokens)
        phases[n++] = (struct phase){.name = "decode", .new_tokens = (size_t)options->new_tokens};
    size_t longest =
        (size_t)(options->prompt > options->new_tokens ? options->prompt : options->new_tokens);
    size_t total = (size_t)options->depth + longest;
    uint64_t context = options->common.context ? options->common.context : total;
    int status = cli_engine_load(&bench.engine, &options->common);
    if (status == CLI_DONE)
        status = open_sessions(&bench, (unsigned)context);
    if (status == CLI_DONE)
        status = prepare(&bench, total);
    for (size_t i = 0; status == CLI_DONE && i < n; i++) {
        size_t most = phases[i].prompt ? 1 : phases[i].new_tokens;
        phases[i].ms = calloc((size_t)options->repetitions * most, sizeof *phases[i].ms);
        if (!phases[i].ms) {
            status = cli_no_memory();
            break;
        }
        strata_status result = run_phase(&bench, &phases[i]);
        if (result != STRATA_OK)
            status = cli_fail(result);
    }
    if (status == CLI_DONE && options->common.json)
        status = print_json(&bench, phases, n);
    else if (status == CLI_DONE)
        print_text(&bench, phases, n);
    for (size_t i = 0; i < n; i++)
        free(phases[i].ms);
    free(bench.ids);
    for (size_t i = 1; i < STRATA_BATCH_MAX; i++)
        strata_session_close(&bench.sessions[i]);
    cli_engine_close(&bench.engine);
    return status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    if (argc > 1 && argv[1][0] != '-')
        return run_suite(argv);
    struct options options = {.prompt = 512, .new_tokens = 128, .batch = 1, .repetitions = 5};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    if (options.common.n_arguments)
        return cli_usage(command, "'%s': the name of a suite comes first, before all options",
                         options.common.arguments[0]);
    if (!options.common.model)
        return cli_usage(command, "-m MODEL, or the name of a suite, is missing");
    if (!options.prompt && !options.new_tokens)
        return cli_usage(command, "-p 0 and -n 0 leave nothing to measure");
    return run_model(&options);
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"prompt", 'p', "N", "tokens to prefill; 0: none (default 512)", CLI_NUMBER, AT(prompt), 0,
     1073741824, NULL},
    {"new", 'n', "N", "tokens to decode; 0: none (default 128)", CLI_NUMBER, AT(new_tokens), 0,
     1073741824, NULL},
    {"batch", 'b', "N", "sequences at a time (default 1)", CLI_NUMBER, AT(batch), 1,
     STRATA_BATCH_MAX, NULL},
    {"depth", 'd', "DEPTH", "tokens in the cache before (default 0)", CLI_NUMBER, AT(depth), 0,
     1073741824, NULL},
    {"repetitions", 'r', "REPS", "repetitions (default 5)", CLI_NUMBER, AT(repetitions), 1, 100000,
     NULL},
    {"bandwidth", 0, "BYTES_PER_S",
     "read bandwidth that `strata bench roofline` measured, for of_roofline", CLI_REAL,
     AT(bandwidth), 1, 1e15, NULL},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_bench = {
    .name = "bench",
    .arguments = "[SUITE [ARGUMENTS]]",
    .summary = "Measure prefill and decode of a model, or run a suite of strata-bench",
    .details =
        "Suites (kernels, roofline, baseline, compare, report) are run by the program\n"
        "strata-bench beside this one; strata bench SUITE --help explains their options.\n"
        "ms_p50 and ms_p95 are of a whole prompt (prefill) or of one token of every sequence\n"
        "(decode); bytes_per_s counts all weights once an evaluation and the keys and values\n"
        "that the tokens see; a batch prefills one sequence after the other;\n"
        "of_roofline is that over --bandwidth for decode, and null without it.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT | CLI_JSON,
    .max_arguments = 1000,
    .options = own,
    .run = run,
};
