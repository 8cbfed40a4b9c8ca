/* Queries per second of strata_facts_find by one caller and by several at once: JSON on stdout.
 *
 *   facts_callers STORE MODEL.gguf QUERIES.jsonl [CALLERS [THREADS [ROUNDS [MOST]]]]
 *
 * Of the lines {"entity", "predicate"} of QUERIES.jsonl those are asked that are not found exactly:
 * "names", whose predicates the graph has (tier 1), "phrases" (tier 2), and "both", where tier 2
 * asks tier 1; each entity once, and at most MOST (1000) of a kind.  The model has THREADS (0: half
 * of the cores).  A pass asks all of a kind, with a store just opened, so that nothing is known of
 * any mention; CALLERS (8) threads take the next query each when they are done with theirs.  Passes
 * of one caller and of several take turns; of ROUNDS (5) the median of queries per second counts,
 * and of CPU time a query, and of times of single queries the median and the 95th percentile of all
 * rounds. */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "strata.h"
#include "strata_facts.h"

enum { CALLERS, THREADS, ROUNDS, MOST, NUMBERS };
#define CALLERS_MOST 64
#define ROUNDS_MOST 100
#define QUERIES_MOST 10000

struct query {
    char *entity, *predicate;
};

struct list {
    struct query items[QUERIES_MOST];
    size_t n;
};

struct work {
    const char *store;
    size_t n[NUMBERS];
    strata_runtime *runtime;
    strata_model *model;
    struct list all, names, phrases, both;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- Queries ---- */

static bool read_queries(struct list *list, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    if (!file)
        return false;
    while (list->n < QUERIES_MOST && getline(&line, &room, file) > 0) {
        json_t *parsed = json_loads(line, 0, NULL);
        const char *entity, *predicate;
        if (parsed &&
            json_unpack(parsed, "{s:s, s:s}", "entity", &entity, "predicate", &predicate) == 0) {
            struct query *q = &list->items[list->n++];
            *q = (struct query){strdup(entity), strdup(predicate)};
        }
        json_decref(parsed);
    }
    free(line);
    fclose(file);
    return list->n > 0;
}

static strata_status open_store(const struct work *w, strata_facts **facts)
{
    strata_facts_options options;
    strata_facts_options_default(&options);
    options.must_exist = true;
    strata_status status = strata_facts_open(w->runtime, w->store, &options, facts);
    return status == STRATA_OK ? strata_facts_use_model(*facts, w->model) : status;
}

static strata_facts_query query_of(const struct query *from, bool explain)
{
    strata_facts_query query;
    strata_facts_query_default(&query);
    query.subject = from->entity;
    query.predicate = from->predicate;
    query.explain = explain;
    return query;
}

/* Adds a query, unless its entity is in the list already. */
static void add(struct list *list, size_t most, const struct query *query)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].entity, query->entity) == 0)
            return;
    if (list->n < most)
        list->items[list->n++] = *query;
}

static strata_status sort_queries(struct work *w)
{
    strata_facts *facts = NULL;
    strata_status status = open_store(w, &facts);
    for (size_t i = 0; i < w->all.n && status == STRATA_OK; i++) {
        strata_facts_result *result;
        const strata_facts_query query = query_of(&w->all.items[i], true);
        status = strata_facts_find(facts, &query, &result);
        if (status != STRATA_OK)
            break;
        const bool expanded = strata_facts_result_expansions(result) > 0;
        const bool linked = strata_facts_result_candidates(result) > 0;
        if (expanded || linked)
            add(!expanded ? &w->names
                : linked  ? &w->both
                          : &w->phrases,
                w->n[MOST], &w->all.items[i]);
        strata_facts_result_free(&result);
    }
    strata_facts_close(&facts);
    return status;
}

/* ---- Passes ---- */

struct pass {
    strata_facts *facts;
    const struct list *list;
    atomic_size_t next;
    atomic_int failed; /* the first strata_status that is no success */
    double *ms;        /* of each query */
};

static void *call(void *context)
{
    struct pass *pass = context;
    size_t i;
    while ((i = atomic_fetch_add(&pass->next, 1)) < pass->list->n) {
        strata_facts_result *result;
        const strata_facts_query query = query_of(&pass->list->items[i], false);
        const double start = now_ms();
        const strata_status status = strata_facts_find(pass->facts, &query, &result);
        pass->ms[i] = now_ms() - start;
        if (status != STRATA_OK) {
            fprintf(stderr, "facts_callers: %s\n", strata_last_error());
            atomic_store(&pass->failed, (int)status);
            break;
        }
        strata_facts_result_free(&result);
    }
    return NULL;
}

/* What a pass gave. */
struct rates {
    double per_second[ROUNDS_MOST], cpu_ms[ROUNDS_MOST]; /* of each round; CPU time of a query */
    double *ms;                                          /* of each query, of all rounds */
};

/* Asks all of a list by so many callers. */
static strata_status run_pass(const struct work *w, const struct list *list, size_t callers,
                              size_t round, struct rates *rates)
{
    struct pass pass = {.list = list, .ms = rates->ms + round * list->n};
    pthread_t threads[CALLERS_MOST];
    size_t started = 0;
    strata_status status = open_store(w, &pass.facts);
    const double start = now_ms(), cpu = cpu_ms();
    while (status == STRATA_OK && started < callers)
        if (pthread_create(&threads[started++], NULL, call, &pass) != 0) {
            started--;
            status = STRATA_E_NOMEM;
        }
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    rates->per_second[round] = 1e3 * (double)list->n / (now_ms() - start);
    rates->cpu_ms[round] = (cpu_ms() - cpu) / (double)list->n;
    strata_facts_close(&pass.facts);
    return status == STRATA_OK ? (strata_status)atomic_load(&pass.failed) : status;
}

static void print_rates(const char *name, size_t callers, size_t n, size_t rounds, struct rates *r)
{
    qsort(r->per_second, rounds, sizeof(double), by_value);
    qsort(r->cpu_ms, rounds, sizeof(double), by_value);
    qsort(r->ms, n * rounds, sizeof(double), by_value);
    printf(", \"%s\": {\"callers\": %zu, \"per_s\": %.1f, \"p50_ms\": %.3f, \"p95_ms\": %.3f, "
           "\"cpu_ms\": %.3f}",
           name, callers, r->per_second[rounds / 2], r->ms[n * rounds / 2],
           r->ms[n * rounds * 95 / 100], r->cpu_ms[rounds / 2]);
}

/* What a list takes with one caller and with several. */
static strata_status measure(const struct work *w, const char *name, const struct list *list)
{
    static struct rates one, many;
    const size_t n = list->n, rounds = w->n[ROUNDS];
    strata_status status = STRATA_OK;
    one.ms = calloc(n * rounds, sizeof *one.ms);
    many.ms = calloc(n * rounds, sizeof *many.ms);
    if (n && (!one.ms || !many.ms))
        status = STRATA_E_NOMEM;
    for (size_t r = 0; r < rounds && n && status == STRATA_OK; r++) {
        status = run_pass(w, list, 1, r, &one);
        if (status == STRATA_OK)
            status = run_pass(w, list, w->n[CALLERS], r, &many);
    }
    printf(", \"%s\": {\"queries\": %zu", name, n);
    if (n && status == STRATA_OK) {
        print_rates("one", 1, n, rounds, &one);
        print_rates("many", w->n[CALLERS], n, rounds, &many);
        printf(", \"gain\": %.2f", many.per_second[rounds / 2] / one.per_second[rounds / 2]);
    }
    printf("}");
    free(one.ms);
    free(many.ms);
    return status;
}

/* ---- The program ---- */

static bool read_numbers(struct work *w, int argc, char **argv)
{
    static const size_t most[NUMBERS] = {CALLERS_MOST, 1024, ROUNDS_MOST, QUERIES_MOST};
    bool good = argc >= 4 && argc <= 4 + NUMBERS;
    for (int i = 0; good && i < argc - 4; i++) {
        char *end;
        w->n[i] = strtoul(argv[4 + i], &end, 10);
        good = *end == 0 && end != argv[4 + i] && w->n[i] <= most[i] && (i == THREADS || w->n[i]);
    }
    return good;
}

static strata_status open_all(struct work *w, const char *model)
{
    strata_config config;
    strata_model_options options;
    strata_config_default(&config);
    strata_model_options_default(&options);
    config.threads = w->n[THREADS] ? (int)w->n[THREADS] : STRATA_THREADS_HALF;
    config.fixed_placement = true;
    options.compute = STRATA_COMPUTE_DYNAMIC; /* as `strata facts` */
    options.component = "tier1_linker";
    strata_status status = strata_runtime_open(&w->runtime, &config);
    return status == STRATA_OK ? strata_model_load(w->runtime, model, &options, &w->model) : status;
}

int main(int argc, char **argv)
{
    static struct work w = {.n = {8, 0, 5, 1000}};
    if (!read_numbers(&w, argc, argv)) {
        fprintf(stderr,
                "usage: facts_callers STORE MODEL.gguf QUERIES.jsonl [CALLERS (1 to %d) "
                "[THREADS [ROUNDS [MOST]]]]\n",
                CALLERS_MOST);
        return 2;
    }
    w.store = argv[1];
    if (!read_queries(&w.all, argv[3])) {
        fprintf(stderr, "facts_callers: %s: no line with an entity and a predicate\n", argv[3]);
        return 1;
    }
    strata_status status = open_all(&w, argv[2]);
    if (status == STRATA_OK)
        status = sort_queries(&w);
    if (status == STRATA_OK) {
        printf("{\"threads\": %d", strata_threads(w.runtime));
        status = measure(&w, "names", &w.names);
        if (status == STRATA_OK)
            status = measure(&w, "phrases", &w.phrases);
        if (status == STRATA_OK)
            status = measure(&w, "both", &w.both);
        printf("}\n");
    }
    if (status != STRATA_OK)
        fprintf(stderr, "facts_callers: %s\n", strata_last_error());
    strata_model_unref(&w.model);
    strata_runtime_close(&w.runtime);
    for (size_t i = 0; i < w.all.n; i++) {
        free(w.all.items[i].entity);
        free(w.all.items[i].predicate);
    }
    return status != STRATA_OK;
}
