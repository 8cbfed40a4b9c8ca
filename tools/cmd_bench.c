/* strata bench: speed of a whole model; with a suite's name, the program strata-bench beside this
 * one.
 *
 * Prefill evaluates a prompt of N tokens at once after DEPTH tokens in the cache; decode evaluates
 * N tokens one at a time after DEPTH.  With a batch, every sequence has its own cache: prefill
 * takes them one after the other, decode all together.  Every repetition starts again at DEPTH; one
 * more before them is not counted.  Sampling is not part of either.
 *
 * A model that makes sentence vectors has one phase, embed: a batch of texts of N tokens in one
 * call, which tokenises too.  The texts repeat a word that is one token. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json_lines.h"

#define NOT_GIVEN UINT64_MAX
#define WORD_MAX 64 /* bytes */

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
    char *text;                                 /* to embed, or NULL for a model with sessions */
    strata_text texts[STRATA_BATCH_MAX];        /* `text`, options->batch times */
    float *vectors;                             /* of those */
    strata_embed_options how;
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

/* The vectors of a batch, and how many tokens a text was read as. */
static strata_status embed(const struct bench *bench, size_t *tokens)
{
    strata_embed_info infos[STRATA_BATCH_MAX];
    strata_status status =
        strata_embed(bench->engine.model, bench->texts, (size_t)bench->options->batch, &bench->how,
                     bench->vectors, infos);
    *tokens = infos[0].tokens;
    return status;
}

/* Evaluates the texts, or `count` ids behind the first `at`; *ms is what it took. */
static strata_status timed_eval(const struct bench *bench, const struct phase *phase, size_t at,
                                size_t count, double *ms)
{
    double start = cli_now_ms();
    strata_status status = bench->text     ? embed(bench, &count)
                           : phase->prompt ? prefill(bench, bench->ids + at, count)
                                           : decode(bench, bench->ids + at);
    *ms = cli_now_ms() - start;
    return status;
}

/* Every sequence at the depth again. */
static strata_status restart(const struct bench *bench)
{
    size_t n = bench->text ? 0 : (size_t)bench->options->batch;
    strata_status status = STRATA_OK;
    for (size_t i = 0; status == STRATA_OK && i < n; i++)
        status = strata_session_truncate(bench->sessions[i], (size_t)bench->options->depth);
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
        status = restart(bench);
        double *out = r ? phase->ms + (r - 1) * steps : phase->ms;
        for (size_t s = 0; status == STRATA_OK && s < steps; s++)
            status = timed_eval(bench, phase, depth + s * count, count, &out[s]);
    }
    cli_progress(&bench->options->common, phase->name, 1, 1);
    phase->n = repetitions * steps;
    return status;
}

/* Medians and rates.  Bytes of an evaluation: all weights once (prefill of a batch: once a
 * sequence), and the keys and values that its tokens see in a cache. */
static void summarise(const struct bench *bench, struct phase *phase, size_t count, size_t steps)
{
    strata_model_info info = strata_model_info_get(bench->engine.model);
    double batch = (double)bench->options->batch;
    double element = bench->engine.kv_type == STRATA_KV_Q8_0 ? 34.0 / 32 : 2;
    double row = (double)info.all_kv_heads * info.head_dim * 2 * element;
    double seen = (double)bench->options->depth + (double)(count * steps) / 2;
    double bytes = (double)info.weight_bytes;
    if (!bench->text)
        bytes = bytes * (phase->prompt ? batch : 1) + batch * row * seen;
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

/* ---- Suites ---- */

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

/* ---- Preparing ---- */

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
    for (size_t i = 0; status == CLI_DONE && i < bench->options->batch; i++)
        strata_session_set_candidates(bench->sessions[i], 1); /* as greedy generation does */
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

/* Phases of a model with sessions, which are opened and filled. */
static int prepare_sessions(struct bench *bench, struct phase *phases, size_t *n)
{
    const struct options *o = bench->options;
    if (o->prompt)
        phases[(*n)++] = (struct phase){.name = "prefill", .prompt = (size_t)o->prompt};
    if (o->new_tokens)
        phases[(*n)++] = (struct phase){.name = "decode", .new_tokens = (size_t)o->new_tokens};
    size_t longest = (size_t)(o->prompt > o->new_tokens ? o->prompt : o->new_tokens);
    size_t total = (size_t)o->depth + longest;
    uint64_t context = o->common.context ? o->common.context : total;
    int status = open_sessions(bench, (unsigned)context);
    return status == CLI_DONE ? prepare(bench, total) : status;
}

/* True for a word of plain letters that is one token each time when it is repeated. */
static bool is_one_token(const strata_tokenizer *tokenizer, const char *word, size_t size)
{
    char twice[2 * WORD_MAX + 1];
    size_t count;
    for (size_t i = 0; i < size; i++)
        if (!isalpha((unsigned char)word[i]))
            return false;
    memcpy(twice, word, size);
    twice[size] = ' ';
    memcpy(twice + size + 1, word, size);
    return size &&
           strata_tokenize(tokenizer, twice, 2 * size + 1, 0, NULL, 0, &count) == STRATA_OK &&
           count == 2;
}

/* The first such word of the vocabulary, in `word`; 0: there is none. */
static size_t find_word(const strata_tokenizer *tokenizer, char word[WORD_MAX])
{
    for (size_t id = 0; id < strata_vocab_size(tokenizer); id++) {
        int32_t one = (int32_t)id;
        size_t size;
        if (strata_detokenize(tokenizer, &one, 1, word, WORD_MAX, &size) != STRATA_OK ||
            size > WORD_MAX)
            continue;
        size_t spaces = size && word[0] == ' ';
        if (is_one_token(tokenizer, word + spaces, size - spaces)) {
            memmove(word, word + spaces, size - spaces);
            return size - spaces;
        }
    }
    return 0;
}

/* A text of options->prompt tokens, special ones included, but no more than the context. */
static int make_text(const struct cli_command *command, struct bench *bench, size_t *bytes)
{
    char word[WORD_MAX];
    size_t special, size = find_word(bench->engine.tokenizer, word);
    strata_status status =
        strata_tokenize(bench->engine.tokenizer, "", 0, STRATA_TOKENIZE_ADD_BOS, NULL, 0, &special);
    if (status != STRATA_OK)
        return cli_fail(status);
    if (!size) {
        cli_message("%s: its vocabulary has no word of letters", bench->options->common.model);
        return CLI_FAILED;
    }
    if (bench->options->prompt <= special)
        return cli_usage(command, "-p: %zu tokens of every text are special, expected more",
                         special);
    size_t words = (size_t)bench->options->prompt - special;
    size_t context = strata_model_info_get(bench->engine.model).context_length;
    words = words < context ? words : context;
    *bytes = words * (size + 1) - 1;
    bench->text = malloc(words * (size + 1));
    if (!bench->text)
        return cli_no_memory();
    for (size_t i = 0; i < words; i++) {
        memcpy(bench->text + i * (size + 1), word, size);
        bench->text[i * (size + 1) + size] = ' ';
    }
    return CLI_DONE;
}

/* The phase of a model that makes sentence vectors, with its texts. */
static int prepare_texts(const struct cli_command *command, struct bench *bench,
                         struct phase *phase)
{
    const struct options *o = bench->options;
    const char *given = o->new_tokens       ? "-n"
                        : o->depth          ? "-d"
                        : o->common.kv_type ? "--kv-type"
                                            : NULL;
    size_t bytes = 0, tokens;
    if (given)
        return cli_usage(command, "%s: %s makes sentence vectors, without new tokens or a cache",
                         given, o->common.model);
    int status = make_text(command, bench, &bytes);
    if (status != CLI_DONE)
        return status;
    for (size_t i = 0; i < o->batch; i++)
        bench->texts[i] = (strata_text){.text = bench->text, .size = bytes};
    strata_embed_options_default(&bench->how);
    bench->how.max_tokens = (size_t)o->common.context;
    size_t width = strata_model_info_get(bench->engine.model).embedding_length;
    bench->vectors = malloc((size_t)o->batch * width * sizeof *bench->vectors);
    if (!bench->vectors)
        return cli_no_memory();
    strata_status result = embed(bench, &tokens); /* the model may take less than was asked for */
    *phase = (struct phase){.name = "embed", .prompt = tokens};
    return result == STRATA_OK ? CLI_DONE : cli_fail(result);
}

/* ---- The command ---- */

static int run_phases(const struct bench *bench, struct phase *phases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t most = phases[i].prompt ? 1 : phases[i].new_tokens;
        phases[i].ms = calloc((size_t)bench->options->repetitions * most, sizeof *phases[i].ms);
        if (!phases[i].ms)
            return cli_no_memory();
        strata_status status = run_phase(bench, &phases[i]);
        if (status != STRATA_OK)
            return cli_fail(status);
    }
    if (bench->options->common.json)
        return print_json(bench, phases, n);
    print_text(bench, phases, n);
    return CLI_DONE;
}

static int run_model(const struct cli_command *command, struct options *options)
{
    struct bench bench = {.options = options};
    struct phase phases[2] = {0};
    size_t n = 0;
    int status = cli_engine_load(&bench.engine, &options->common);
    bool embeds = status == CLI_DONE && strata_model_embeds(bench.engine.model);
    if (options->new_tokens == NOT_GIVEN)
        options->new_tokens = embeds ? 0 : 128;
    if (embeds)
        status = prepare_texts(command, &bench, &phases[n++]);
    else if (status == CLI_DONE)
        status = prepare_sessions(&bench, phases, &n);
    if (status == CLI_DONE)
        status = run_phases(&bench, phases, n);
    for (size_t i = 0; i < n; i++)
        free(phases[i].ms);
    free(bench.ids);
    free(bench.text);
    free(bench.vectors);
    for (size_t i = 1; i < STRATA_BATCH_MAX; i++)
        strata_session_close(&bench.sessions[i]);
    cli_engine_close(&bench.engine);
    return status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    if (argc > 1 && argv[1][0] != '-')
        return run_suite(argv);
    struct options options = {.prompt = 512, .new_tokens = NOT_GIVEN, .batch = 1, .repetitions = 5};
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
    return run_model(command, &options);
}

#define AT(member) offsetof(struct options, member)
static const struct cli_option own[] = {
    {"prompt", 'p', "N", "tokens to prefill; 0: none (default 512)", CLI_NUMBER, AT(prompt), 0,
     1073741824},
    {"new", 'n', "N", "tokens to decode; 0: none (default 128)", CLI_NUMBER, AT(new_tokens), 0,
     1073741824},
    {"batch", 'b', "N", "sequences at a time (default 1)", CLI_NUMBER, AT(batch), 1,
     STRATA_BATCH_MAX},
    {"depth", 'd', "DEPTH", "tokens in the cache before (default 0)", CLI_NUMBER, AT(depth), 0,
     1073741824},
    {"repetitions", 'r', "REPS", "repetitions (default 5)", CLI_NUMBER, AT(repetitions), 1, 100000},
    {"bandwidth", 0, "BYTES_PER_S",
     "read bandwidth that `strata bench roofline` measured, for of_roofline", CLI_REAL,
     AT(bandwidth), 1, 1e15},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_bench = {
    .name = "bench",
    .arguments = "[SUITE [ARGUMENTS]]",
    .summary = "Measure a model's prefill and decode, or sentence vectors, or run a suite",
    .details =
        "Suites (kernels, roofline, baseline, compare, report) are run by the program\n"
        "strata-bench beside this one; strata bench SUITE --help explains their options.\n"
        "ms_p50 and ms_p95 are of a whole prompt (prefill) or of one token of every sequence\n"
        "(decode); bytes_per_s counts all weights once an evaluation and the keys and values\n"
        "that the tokens see; a batch prefills one sequence after the other;\n"
        "of_roofline is that over --bandwidth for decode, and null without it.\n"
        "A model that makes sentence vectors has one phase, embed: -b texts in one call, each of\n"
        "-p tokens, special ones included, or as many as the model takes; no -n, no -d.",
    .groups = CLI_MODEL | CLI_RUN | CLI_CONTEXT | CLI_JSON,
    .max_arguments = 1000,
    .options = own,
    .run = run,
};
