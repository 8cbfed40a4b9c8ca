/* strata facts: a store of facts: import, index, ask, export, delete, stats, optimise. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_json.h"
#include "facts_job.h"
#include "json_lines.h"
#include "model_names.h"

#define PROBLEMS_SHOWN 20 /* of a file, without -v */

/* Which options an action takes. */
enum {
    TAKES_PATTERN = 1,
    TAKES_ASK = 2,
    TAKES_FILES = 4,
    TAKES_STATS = 8,
    TAKES_IMPORT = 16,
    TAKES_MODEL = 32
};

/* Where it uses the store's caches. */
enum caches { NO_CACHES, CACHES, CACHES_IF_THERE };

struct action {
    const char *name;
    unsigned takes;
    bool makes; /* the store, where there is none */
    enum caches caches;
    int min_arguments, max_arguments; /* with the store; -1: any */
    int (*run)(struct facts_job *job);
};

/* ---- Vectors ---- */

/* Opens the model of vectors: CLI_DONE, or the exit status after a message. */
static int open_model(struct facts_job *job)
{
    job->model_common = job->options->common; /* the engine logs by it as long as it lives */
    job->model_common.model = job->options->embed_model ? job->options->embed_model : "minilm";
    if (!job->model_common.compute) /* a cosine of 0.998 to float vectors, in half the time */
        job->model_common.compute = "dynamic";
    return cli_engine_load(&job->engine, &job->model_common);
}

static bool on_vectors(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct facts_job *job = user;
    (void)what;
    cli_progress(&job->options->common, "vectors", (size_t)done, (size_t)total);
    return !cli_interrupted();
}

static bool on_predicates(void *user, const char *what, uint64_t done, uint64_t total)
{
    const struct facts_job *job = user;
    cli_progress(&job->options->common, what, (size_t)done, (size_t)total);
    return !cli_interrupted();
}

/* Makes the vectors that are missing. */
static int make_vectors(struct facts_job *job, uint64_t *made, double *ms)
{
    const double start = cli_now_ms();
    int status = open_model(job);
    if (status != CLI_DONE)
        return status;
    cli_interrupts_work(true);
    strata_status result = strata_facts_index(job->facts, job->engine.model, on_vectors, job, made);
    *ms = cli_now_ms() - start;
    return result == STRATA_OK ? CLI_DONE : cli_fail(result);
}

static int run_index(struct facts_job *job)
{
    uint64_t made;
    double ms;
    int status = make_vectors(job, &made, &ms);
    if (status != CLI_DONE)
        return status;
    if (job->options->common.json)
        return json_print(json_pack("{s:I, s:f}", "vectors", (json_int_t)made, "ms", ms));
    printf("%" PRIu64 " vectors made, %.1f s\n", made, ms / 1000);
    return CLI_DONE;
}

/* Opens the language model, in the runtime of the model of vectors.  Lines are many questions: then
 * it reads the graph's predicates first. */
static int open_lm(struct facts_job *job)
{
    const struct facts_options *options = job->options;
    strata_model_options how;
    int status;
    char *path = model_names_resolve(options->lm, &status);
    if (!path)
        return status;
    strata_model_options_default(&how);
    how.compute = cli_compute(&job->model_common);
    how.no_pack_cache = options->common.no_pack_cache;
    how.component = "tier2_expander";
    strata_status result = strata_model_load(job->engine.runtime, path, &how, &job->lm);
    free(path);
    if (result == STRATA_OK)
        result = strata_facts_use_lm(job->facts, job->lm);
    if (result == STRATA_OK && !options->entity && !options->predicate && !options->object)
        result = strata_facts_warm_lm(job->facts, on_predicates, job);
    return result == STRATA_OK ? CLI_DONE : cli_fail(result);
}

static int open_vectors(struct facts_job *job)
{
    if (!strata_facts_has_vectors(job->facts)) {
        if (!job->options->common.quiet)
            cli_message(
                "the store has no vectors: names are compared, descriptions and phrases are not; "
                "strata facts index makes them");
        return CLI_DONE;
    }
    job->engine.component = "tier1_linker";
    job->engine.half_the_cores = true;
    int status = open_model(job);
    if (status != CLI_DONE)
        return status;
    strata_status result = strata_facts_use_model(job->facts, job->engine.model);
    if (result != STRATA_OK)
        return cli_fail(result);
    return job->options->lm ? open_lm(job) : CLI_DONE;
}

int facts_use_vectors(struct facts_job *job)
{
    if (!job->model_tried)
        job->model_status = open_vectors(job);
    job->model_tried = true;
    return job->model_status;
}

/* ---- Import, and delete by files ---- */

static void on_problem(void *user, const char *file, uint64_t line, uint64_t column,
                       const char *reason)
{
    struct facts_job *job = user;
    if (job->problems++ < PROBLEMS_SHOWN || job->options->common.verbose)
        fprintf(stderr, "%s:%" PRIu64 ":%" PRIu64 ": %s\n", file, line, column, reason);
    else if (job->problems == PROBLEMS_SHOWN + 1)
        fprintf(stderr, "%s: more such lines are only counted; -v shows all\n", file);
}

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct facts_job *job = user;
    (void)what;
    cli_progress(&job->options->common, job->file ? job->file : "checking", (size_t)done,
                 (size_t)total);
    return !cli_interrupted();
}

static json_t *import_json(const char *file, const strata_facts_import_info *info, bool remove,
                           double ms)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:f}", "file", json_text(file, strlen(file)),
                     "statements", (json_int_t)info->statements, remove ? "removed" : "added",
                     (json_int_t)info->changed, "refused", (json_int_t)info->refused, "resumed",
                     (json_int_t)info->resumed, "ms", ms);
}

static void print_import(const char *file, const strata_facts_import_info *info, bool remove,
                         double ms)
{
    printf("%s: %" PRIu64 " statements, %" PRIu64 " triples %s, %" PRIu64 " refused", file,
           info->statements, info->changed, remove ? "removed" : "added", info->refused);
    if (info->resumed)
        printf(", %" PRIu64 " read before", info->resumed);
    printf(", %.1f s (%.0f statements/s)\n", ms / 1000,
           ms > 0 ? (double)info->statements / ms * 1000 : 0.0);
}

static int change_by_files(struct facts_job *job, bool remove)
{
    const struct cli_common *common = &job->options->common;
    json_t *files = json_array();
    strata_status status = STRATA_OK;
    cli_interrupts_work(true);
    for (int i = 2; i < common->n_arguments && status == STRATA_OK; i++) {
        strata_facts_import_options how;
        strata_facts_import_info info;
        strata_facts_import_options_default(&how);
        how.strict = job->options->strict;
        how.restart = job->options->restart;
        how.remove = remove;
        how.on_problem = how.strict ? NULL : on_problem; /* the error says it */
        how.on_progress = on_progress;
        how.user = job;
        job->file = common->arguments[i];
        job->problems = 0;
        const double start = cli_now_ms();
        status = strata_facts_import(job->facts, job->file, &how, &info);
        const double ms = cli_now_ms() - start;
        if (status != STRATA_OK)
            cli_progress(common, job->file, 1, 1);
        if (common->json)
            files = json_push(files, import_json(job->file, &info, remove, ms));
        else if (status == STRATA_OK || info.changed)
            print_import(job->file, &info, remove, ms);
    }
    if (status != STRATA_OK) {
        json_decref(files);
        return cli_fail(status);
    }
    uint64_t made = 0;
    double ms = 0;
    if (!remove && !job->options->no_vectors) {
        int made_status = make_vectors(job, &made, &ms);
        if (made_status != CLI_DONE) {
            if (!job->engine.model)
                cli_message("the triples are imported; without a model of vectors use "
                            "--no-vectors, and strata facts index later");
            json_decref(files);
            return made_status;
        }
    }
    if (common->json)
        return json_print(files ? json_pack("{s:o, s:I, s:f}", "files", files, "vectors",
                                            (json_int_t)made, "vectors_ms", ms)
                                : NULL);
    if (made)
        printf("%" PRIu64 " vectors made, %.1f s\n", made, ms / 1000);
    json_decref(files);
    return CLI_DONE;
}

static int run_import(struct facts_job *job)
{
    return change_by_files(job, false);
}

/* ---- Export and delete ---- */

static bool write_out(void *user, const char *bytes, size_t size)
{
    (void)user;
    return !cli_interrupted() && cli_write(bytes, size);
}

static int run_export(struct facts_job *job)
{
    cli_interrupts_work(true);
    strata_status status = strata_facts_export(job->facts, write_out, NULL);
    if (status == STRATA_E_CANCELLED && !cli_interrupted())
        return CLI_FAILED; /* cli_finish says why it could not be written */
    return status == STRATA_OK ? CLI_DONE : cli_fail(status);
}

static int run_delete(struct facts_job *job)
{
    const strata_facts_query pattern = facts_query_of(job->options);
    const bool by_pattern = pattern.subject || pattern.predicate || pattern.object;
    uint64_t removed;
    if (by_pattern == (job->options->common.n_arguments > 2))
        return cli_usage(job->command, "delete: give files of triples, or a pattern by --entity, "
                                       "--predicate and --object");
    if (by_pattern && job->options->strict)
        return cli_usage(job->command, "delete: --strict is for files");
    if (!by_pattern)
        return change_by_files(job, true);
    strata_status status = strata_facts_remove(job->facts, &pattern, &removed);
    if (status != STRATA_OK)
        return cli_fail(status);
    if (job->options->common.json)
        return json_print(json_pack("{s:I}", "removed", (json_int_t)removed));
    printf("%" PRIu64 " triple%s removed\n", removed, removed == 1 ? "" : "s");
    return CLI_DONE;
}

/* ---- Stats ---- */

static void print_stats(const strata_facts_info *info, bool checked)
{
    char file[32], unused[32];
    printf("%-12s %" PRIu64 "\n%-12s %" PRIu64 "\n%-12s %" PRIu64 "\n%-12s %" PRIu64
           "\n%-12s %" PRIu64 "\n",
           "triples", info->triples, "subjects", info->subjects, "predicates", info->predicates,
           "objects", info->objects, "terms", info->terms);
    printf("%-12s %s, of which %s for later changes\n", "on disk",
           cli_bytes_text(file, info->file_bytes), cli_bytes_text(unused, info->free_bytes));
    if (checked)
        printf("%-12s all indices agree\n", "check");
}

/* {vectors, mapped_bytes, resident_bytes, sketch_bytes, cache_limit_bytes, components} of tier 1;
 * NULL: no memory. */
static json_t *memory_json(const strata_facts_tier1_info *tier1, json_t *memory)
{
    json_t *components = memory ? json_array() : NULL, *c;
    size_t i;
    json_array_foreach(json_object_get(memory, "components"), i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        if (name && (strncmp(name, "tier1_linker", 12) == 0 || strcmp(name, "base_indices") == 0))
            components = json_push(components, json_incref(c));
    }
    json_decref(memory);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "vectors", (json_int_t)tier1->vectors,
                     "mapped_bytes", (json_int_t)tier1->mapped_bytes, "resident_bytes",
                     (json_int_t)tier1->resident_bytes, "sketch_bytes",
                     (json_int_t)tier1->sketch_bytes, "cache_limit_bytes",
                     (json_int_t)tier1->cache_limit_bytes, "components", components);
}

static void print_memory(const json_t *memory)
{
    char a[32], b[32];
    size_t i;
    json_t *c;
    printf("\n%-40s %10s %10s\n", "MEMORY OF TIER 1", "USED", "LIMIT");
    json_array_foreach(json_object_get(memory, "components"), i, c)
    {
        const json_t *limit = json_object_get(c, "limit_bytes");
        printf("%-40s %10s %10s\n", json_string_value(json_object_get(c, "name")),
               cli_bytes_text(a, (uint64_t)json_integer_value(json_object_get(c, "used_bytes"))),
               json_is_integer(limit) ? cli_bytes_text(b, (uint64_t)json_integer_value(limit))
                                      : "-");
    }
    printf(
        "%s of vectors are mapped (base_indices), of which %s are in memory\n",
        cli_bytes_text(a, (uint64_t)json_integer_value(json_object_get(memory, "mapped_bytes"))),
        cli_bytes_text(b, (uint64_t)json_integer_value(json_object_get(memory, "resident_bytes"))));
}

/* What tier 1 has in memory when it is asked; CLI_DONE, or the exit status after a message. */
static int read_memory(struct facts_job *job, json_t **out)
{
    strata_facts_tier1_info tier1;
    strata_memory *memory = NULL;
    *out = NULL;
    if (!strata_facts_has_vectors(job->facts)) {
        cli_message(
            "the store has no vectors, of which --memory is: strata facts index makes them");
        return CLI_FAILED;
    }
    int status = facts_use_vectors(job);
    if (status != CLI_DONE)
        return status;
    strata_facts_tier1_info_get(job->facts, &tier1);
    strata_status result = strata_memory_read(job->engine.runtime, &memory);
    if (result != STRATA_OK)
        return cli_fail(result);
    *out = memory_json(&tier1, engine_json_memory(memory));
    strata_memory_free(&memory);
    return *out ? CLI_DONE : cli_no_memory();
}

static int run_stats(struct facts_job *job)
{
    strata_facts_info info;
    json_t *memory = NULL, *caches = NULL;
    strata_status status = STRATA_OK;
    if (job->options->check) {
        cli_interrupts_work(true);
        status = strata_facts_check(job->facts, on_progress, job);
        cli_progress(&job->options->common, "checking", 1, 1);
    }
    if (status == STRATA_E_FORMAT) {
        cli_fail(status);
        return CLI_FAILED; /* a violation */
    }
    if (status == STRATA_OK)
        status = strata_facts_info_get(job->facts, &info);
    if (status != STRATA_OK)
        return cli_fail(status);
    if (job->options->memory) {
        int read = read_memory(job, &memory);
        if (read != CLI_DONE)
            return read;
    }
    if (facts_has_caches(job->options))
        caches = facts_caches_json(job);
    if (!job->options->common.json) {
        print_stats(&info, job->options->check);
        if (caches)
            facts_print_caches(caches);
        if (memory)
            print_memory(memory);
        json_decref(caches);
        json_decref(memory);
        return CLI_DONE;
    }
    return json_print(json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o*, s:o*}", "triples", (json_int_t)info.triples,
        "subjects", (json_int_t)info.subjects, "predicates", (json_int_t)info.predicates, "objects",
        (json_int_t)info.objects, "terms", (json_int_t)info.terms, "file_bytes",
        (json_int_t)info.file_bytes, "free_bytes", (json_int_t)info.free_bytes, "checked",
        job->options->check ? json_true() : json_false(), "caches", caches, "memory", memory));
}

/* ---- The command ---- */

static const struct action actions[] = {
    {"import", TAKES_FILES | TAKES_IMPORT | TAKES_MODEL, true, NO_CACHES, 2, -1, run_import},
    {"index", TAKES_MODEL, false, NO_CACHES, 1, 1, run_index},
    {"ask", TAKES_PATTERN | TAKES_ASK | TAKES_MODEL, false, CACHES, 1, 2, facts_ask},
    {"export", 0, false, NO_CACHES, 1, 1, run_export},
    {"delete", TAKES_PATTERN | TAKES_FILES, false, NO_CACHES, 1, -1, run_delete},
    {"stats", TAKES_STATS, false, CACHES_IF_THERE, 1, 1, run_stats},
    {"optimise", TAKES_MODEL, false, CACHES, 1, 1, facts_optimise},
};
#define ACTIONS (sizeof actions / sizeof *actions)

#define LIMIT 1000

#define MAX_TIER 3

/* An option that was given and the action does not take, or NULL. */
static const char *foreign_option(const struct facts_options *o, unsigned takes)
{
    const struct {
        bool given;
        unsigned of;
        const char *name;
    } given[] = {
        {o->entity, TAKES_PATTERN, "--entity"},
        {o->predicate, TAKES_PATTERN, "--predicate"},
        {o->object, TAKES_PATTERN, "--object"},
        {o->limit != LIMIT, TAKES_ASK, "--limit"},
        {o->offset, TAKES_ASK, "--offset"},
        {o->deadline_ms > 0, TAKES_ASK, "--deadline-ms"},
        {o->max_tier != MAX_TIER, TAKES_ASK, "--max-tier"},
        {o->explain, TAKES_ASK, "--explain"},
        {o->lm, TAKES_ASK, "--lm"},
        {o->no_cache, TAKES_ASK, "--no-cache"},
        {o->embed_model, TAKES_MODEL, "--embed-model"},
        {o->strict, TAKES_FILES, "--strict"},
        {o->restart, TAKES_IMPORT, "--restart"},
        {o->no_vectors, TAKES_IMPORT, "--no-vectors"},
        {o->check, TAKES_STATS, "--check"},
        {o->memory, TAKES_STATS, "--memory"},
    };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i].given && !(takes & given[i].of))
            return given[i].name;
    return NULL;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct facts_options options = {.limit = LIMIT, .max_tier = MAX_TIER};
    int status = cli_parse(command, argc, argv, &options);
    if (status != CLI_GO_ON)
        return status;
    const char *name = options.common.arguments[0];
    const struct action *action = actions;
    while (action < actions + ACTIONS && strcmp(action->name, name) != 0)
        action++;
    if (action == actions + ACTIONS)
        return cli_usage(
            command, "'%s' is none of import, index, ask, export, delete, stats, optimise", name);
    const int given = options.common.n_arguments - 1;
    if (given < action->min_arguments)
        return cli_usage(command, "%s: %s is missing", name, given ? "FILE" : "STORE");
    if (action->max_arguments >= 0 && given > action->max_arguments)
        return cli_usage(command, "%s: unexpected argument '%s'", name,
                         options.common.arguments[action->max_arguments + 1]);
    const char *foreign =
        foreign_option(&options, action->takes | (options.memory ? TAKES_MODEL : 0));
    if (foreign)
        return cli_usage(command, "%s takes no %s", name, foreign);
    struct facts_job job = {.command = command, .options = &options};
    const bool caches = action->caches == CACHES_IF_THERE ? facts_has_caches(&options)
                                                          : action->caches && !options.no_cache;
    strata_status opened = facts_open(&job, action->makes, caches);
    if (opened != STRATA_OK)
        return cli_fail(opened);
    status = action->run(&job);
    strata_facts_close(&job.facts);
    strata_model_unref(&job.lm);
    cli_engine_close(&job.engine);
    return status;
}

static const struct cli_option own[] = {
    {"entity", 0, "E", "ask, delete: facts of this subject: a name, an IRI, a term of N-Triples",
     CLI_TEXT, offsetof(struct facts_options, entity), 0, 0},
    {"predicate", 0, "P", "ask, delete: with this predicate", CLI_TEXT,
     offsetof(struct facts_options, predicate), 0, 0},
    {"object", 0, "O", "ask, delete: with this object: a name, the text of a literal, ...",
     CLI_TEXT, offsetof(struct facts_options, object), 0, 0},
    {"limit", 0, "N", "ask: facts at most, 0 for all (default 1000)", CLI_NUMBER,
     offsetof(struct facts_options, limit), 0, 9007199254740992.0},
    {"offset", 0, "N", "ask: facts to pass over (default 0)", CLI_NUMBER,
     offsetof(struct facts_options, offset), 0, 9007199254740992.0},
    {"deadline-ms", 0, "MS", "ask: give what was found by then (default: none; of questions 500)",
     CLI_REAL, offsetof(struct facts_options, deadline_ms), 0, 1e9},
    {"max-tier", 0, "N",
     "ask: 0 finds exactly only, 1 also other names, 2 other words, 3 (default) and questions",
     CLI_NUMBER, offsetof(struct facts_options, max_tier), 0, 3},
    {"explain", 0, NULL, "ask: show what tiers 1 to 3 considered", CLI_FLAG,
     offsetof(struct facts_options, explain), 0, 0},
    {"no-cache", 0, NULL, "ask: keep no answers, and give none that were kept", CLI_FLAG,
     offsetof(struct facts_options, no_cache), 0, 0},
    {"embed-model", 0, "MODEL",
     "import, index, ask, stats, optimise: model of vectors (default minilm)", CLI_TEXT,
     offsetof(struct facts_options, embed_model), 0, 0},
    {"lm", 0, "MODEL", "ask: language model that tier 2 asks too, as smollm2-135m (default none)",
     CLI_TEXT, offsetof(struct facts_options, lm), 0, 0},
    {"no-vectors", 0, NULL, "import: make no vectors of labels and descriptions", CLI_FLAG,
     offsetof(struct facts_options, no_vectors), 0, 0},
    {"strict", 0, NULL, "import, delete: stop at the first line that cannot be read", CLI_FLAG,
     offsetof(struct facts_options, strict), 0, 0},
    {"restart", 0, NULL, "import: do not go on where an interrupted import of the file ended",
     CLI_FLAG, offsetof(struct facts_options, restart), 0, 0},
    {"check", 0, NULL, "stats: read everything and compare the indices", CLI_FLAG,
     offsetof(struct facts_options, check), 0, 0},
    {"memory", 0, NULL, "stats: also what tier 1 has in memory when it is asked", CLI_FLAG,
     offsetof(struct facts_options, memory), 0, 0},
    CLI_OPTIONS_END,
};

const struct cli_command cmd_facts = {
    .name = "facts",
    .arguments = "import|index|ask|export|delete|stats|optimise STORE [FILE...|QUESTION]",
    .summary = "Keep facts in a store and find them",
    .details =
        "import adds the triples of files, N-Triples (.nt) or Turtle (.ttl), also .gz and .zst,\n"
        "to the store in the folder STORE, which is made where there is none.  Lines that cannot\n"
        "be read are shown and counted, the others imported.  An import that was interrupted goes\n"
        "on where it ended when it is started again.  Vectors of labels and descriptions are made\n"
        "at the end, or by index, with --compute dynamic unless another is given.\n\n"
        "ask finds facts by --entity, --predicate and --object, or answers a QUESTION by chains "
        "of\n"
        "facts (tier 3); without these it reads lines {\"id\", \"entity\", \"predicate\", "
        "\"object\"} or\n{\"id\", \"question\"} on standard input and prints "
        "{\"facts\":[{\"s\",\n"
        "\"p\", \"o\", \"score\"}], \"tier\", \"latency_ms\", \"complete\", \"id\"} for each.  "
        "Names are\n"
        "compared without regard to case (Unicode NFKC, case folding), typed literals by value.\n"
        "Where nothing is found exactly, tier 1 looks for the entities that the name may mean, "
        "and\n"
        "tier 2, where the predicate names none, for the predicates that it may mean, by half of\n"
        "the cores unless -t is given.  Lines that are there are answered together, 32 at\n"
        "most, unless each has a deadline.  Answers are kept in the store's folder, and given "
        "again\n"
        "as long as its graph, vectors and model do not change.\n\n"
        "export prints all triples as N-Triples.  delete removes the triples of files, or those "
        "of\n"
        "a pattern.  stats counts; with --check the exit status is 1 when the indices disagree, "
        "with\n"
        "--memory it opens the vectors as ask does and shows the budgets of tier 1 (of an ask "
        "that\n"
        "runs: strata memory --pid).  optimise puts the kept answers in order: what is stale "
        "leaves,\n"
        "what is asked often moves to where it is found faster, and the rest is compressed anew.",
    .groups = CLI_JSON | CLI_RUN,
    .min_arguments = 1,
    .max_arguments = 1 << 20,
    .options = own,
    .run = run,
};
