/* Answers, predicates of phrases and vectors as values of caches (answer_cache.h). */
#include "answer_cache.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "answer_bytes.h"
#include "deadline.h"
#include "memory.h"
#include "model.h"
#include "tiers_sources.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PHRASE_BYTES 1024 /* of a phrase that tier 2 reads */
static const char known_text[] = "a store of facts";

/* ---- Opening, versions ---- */

strata_status strata__answers_open(strata_facts *facts, const strata_facts_options *options)
{
    static const uint64_t build[] = {STRATA__TIERS_SOURCES, sizeof(void *), 0x0102030405060708};
    char folder[4096];
    if (!options)
        return STRATA_OK;
    const int n = snprintf(folder, sizeof folder, "%s/cache", facts->path);
    const struct strata__facts_cache_options how = {
        .folder = n > 0 && (size_t)n < sizeof folder - 64 ? folder : NULL,
        .memory_bytes = (size_t)options->cache_memory_bytes,
        .lmdb_bytes = options->cache_lmdb_bytes,
        .disk_bytes = options->cache_disk_bytes,
        .origin = XXH3_64bits_withSeed(build, sizeof build, facts->seed)};
    return strata__facts_cache_open(&how, &facts->cache);
}

uint64_t strata__answers_files(const strata_facts *facts)
{
    static const char *const names[] = {"labels", "descriptions", "predicates"};
    uint64_t hash = 1;
    if (!facts->cache)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[4200];
        struct stat file;
        snprintf(name, sizeof name, "%s/%s.vectors", facts->path, names[i]);
        if (stat(name, &file) != 0)
            continue; /* a file that is missing changes the hash, too */
        const uint64_t identity[] = {i,
                                     (uint64_t)file.st_ino,
                                     (uint64_t)file.st_size,
                                     (uint64_t)file.st_mtim.tv_sec,
                                     (uint64_t)file.st_mtim.tv_nsec,
                                     hash};
        hash = XXH3_64bits(identity, sizeof identity);
    }
    return hash;
}

/* Tier 2's predicates of the state that the store is in. */
static void preload(void *user)
{
    strata_facts *facts = user;
    struct strata__txn txn;
    if (strata__txn_begin(facts, false, &txn) != STRATA_OK)
        return; /* the first phrase will do it */
    strata__tier2_preload(&txn);
    strata__txn_abort(&txn);
}

static struct strata__cache_versions versions_now(strata_facts *facts)
{
    struct strata__cache_versions versions = {
        .models = {facts->vector_version, facts->answer_version}};
    struct strata__txn txn;
    if (strata__txn_begin(facts, false, &txn) == STRATA_OK) {
        versions.graph = mdb_txn_id(txn.txn);
        strata__txn_abort(&txn);
    }
    return versions;
}

strata_status strata__answers_use_model(strata_facts *facts, strata_model *model, uint64_t files)
{
    const size_t width = facts->linker->width;
    const strata_text text = {known_text, sizeof known_text - 1};
    float *vector;
    if (!facts->cache)
        return STRATA_OK;
    STRATA_TRY(strata__facts_cache_charge(facts->cache, model->runtime));
    STRATA_TRY(strata__calloc(&vector, width, sizeof *vector, "a vector"));
    strata_status status = strata_embed(model, &text, 1, NULL, vector, NULL);
    facts->vector_version = XXH3_64bits(vector, width * sizeof *vector) | 1;
    facts->answer_version =
        XXH3_64bits_withSeed(&facts->vector_version, sizeof facts->vector_version, files) | 1;
    strata__free(vector);
    STRATA_TRY(status);
    const struct strata__cache_versions versions = versions_now(facts);
    strata__facts_cache_warm(facts->cache, &versions, preload, facts);
    return STRATA_OK;
}

/* ---- Answers ---- */

/* Appends the key of a query; false: no memory. */
static bool add_key(const strata_facts *facts, const strata_facts_query *query, bool text,
                    struct strata__bytes *out)
{
    const char *const terms[] = {query->subject, query->predicate, query->object, query->question};
    const uint64_t numbers[] = {query->limit, query->offset, (uint64_t)query->max_tier, text,
                                facts->lm_version};
    strata_status status = strata__bytes_append(out, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof terms / sizeof *terms && status == STRATA_OK; i++) {
        status = strata__bytes_append(out, terms[i] ? "\1" : "\0", 1);
        if (status == STRATA_OK && terms[i])
            status = strata__bytes_append(out, terms[i], strlen(terms[i]) + 1);
    }
    return status == STRATA_OK;
}

static struct strata__cache_key key_of(const struct strata__txn *txn,
                                       const struct strata__bytes *text)
{
    return (struct strata__cache_key){.kind = STRATA__CACHE_ANSWER,
                                      .graph = mdb_txn_id(txn->txn),
                                      .model = txn->facts->answer_version,
                                      .text = text->data,
                                      .size = text->size};
}

bool strata__answer_get(struct strata__txn *txn, const strata_facts_query *query,
                        struct strata__bytes *text, strata_facts_result *result,
                        strata_facts_answer *answer)
{
    struct strata__bytes name = {0}, value = {0};
    strata_facts_answer kept;
    if (!txn->facts->cache || query->explain)
        return false;
    bool found = add_key(txn->facts, query, text != NULL, &name);
    const struct strata__cache_key key = key_of(txn, &name);
    found = found && strata__facts_cache_get(txn->facts->cache, &key, &value) &&
            (text ? strata__text_answer_read(&value, text, &kept)
                  : strata__answer_read(&value, result, &kept));
    if (found)
        *answer = kept;
    strata__bytes_free(&name);
    strata__bytes_free(&value);
    return found;
}

bool strata__answer_known(struct strata__txn *txn, const strata_facts_query *query)
{
    struct strata__bytes name = {0};
    if (!txn->facts->cache || query->explain)
        return false;
    const bool whole = add_key(txn->facts, query, false, &name);
    const struct strata__cache_key key = key_of(txn, &name);
    const bool known = whole && strata__facts_cache_has(txn->facts->cache, &key);
    strata__bytes_free(&name);
    return known;
}

void strata__answer_put(struct strata__txn *txn, const strata_facts_query *query,
                        const struct strata__bytes *text, const strata_facts_result *result,
                        const strata_facts_answer *answer, double cost_ms)
{
    struct strata__bytes name = {0}, value = {0};
    if (query->explain || !answer->complete || answer->timed_out ||
        !strata__facts_cache_is_worth(txn->facts->cache, cost_ms))
        return;
    const bool whole = add_key(txn->facts, query, text != NULL, &name) &&
                       (text ? strata__text_answer_write(text, answer, &value)
                             : strata__answer_write(result, answer, &value));
    const struct strata__cache_key key = key_of(txn, &name);
    if (whole)
        strata__facts_cache_put(txn->facts->cache, &key, value.data, value.size, cost_ms);
    strata__bytes_free(&name);
    strata__bytes_free(&value);
}

/* ---- Predicates of phrases ---- */

/* The expansions that a value is; NULL: none. */
static strata_status read_expansions(const struct strata__bytes *value,
                                     struct strata__expansion **out, size_t *n)
{
    *n = value->size / sizeof **out;
    STRATA_TRY(strata__calloc(out, *n, sizeof **out, "predicates of a phrase"));
    if (value->size)
        memcpy(*out, value->data, *n * sizeof **out);
    return STRATA_OK;
}

strata_status strata__expand_cached(struct strata__txn *txn, const char *phrase, double deadline,
                                    struct strata__expansion **out, size_t *n, bool *whole)
{
    const strata_facts *facts = txn->facts;
    struct strata__bytes value = {0};
    const struct strata__cache_key key = {.kind = STRATA__CACHE_EXPANSION,
                                          .graph = mdb_txn_id(txn->txn),
                                          .model = facts->answer_version,
                                          .text = phrase,
                                          .size = strnlen(phrase, PHRASE_BYTES)};
    if (!facts->cache || !facts->linker)
        return strata__tier2_expand(txn, phrase, deadline, out, n, whole);
    *whole = true;
    strata_status status;
    if (strata__facts_cache_get(facts->cache, &key, &value)) {
        status = read_expansions(&value, out, n);
    } else {
        const double start = strata__now_ms();
        status = strata__tier2_expand(txn, phrase, deadline, out, n, whole);
        if (status == STRATA_OK && *whole)
            strata__facts_cache_put(facts->cache, &key, *out, *n * sizeof **out,
                                    strata__now_ms() - start);
    }
    strata__bytes_free(&value);
    return status;
}

/* ---- What a language model said ---- */

/* Appends the key of wordings: the model, and each predicate and text. */
static strata_status add_wordings(const strata_facts *facts, const struct strata__wording *wordings,
                                  size_t n, struct strata__bytes *out)
{
    STRATA_TRY(strata__bytes_append(out, &facts->lm_version, sizeof facts->lm_version));
    for (size_t i = 0; i < n; i++) {
        const uint64_t head[] = {wordings[i].predicate, wordings[i].size};
        STRATA_TRY(strata__bytes_append(out, head, sizeof head));
        STRATA_TRY(strata__bytes_append(out, wordings[i].text, wordings[i].size));
    }
    return STRATA_OK;
}

static bool read_scores(const struct strata__bytes *value, struct strata__wording *wordings,
                        size_t n)
{
    if (value->size != n * sizeof wordings->logprob)
        return false;
    for (size_t i = 0; i < n; i++)
        memcpy(&wordings[i].logprob, value->data + i * sizeof wordings->logprob,
               sizeof wordings->logprob);
    return true;
}

/* Asks the model, and keeps what it says. */
static strata_status score_anew(struct strata__txn *txn, const struct strata__cache_key *key,
                                struct strata__wording *wordings, size_t n, double deadline,
                                bool *scored)
{
    struct strata__bytes value = {0};
    const double start = strata__now_ms();
    STRATA_TRY(strata__predicate_lm_score(txn, wordings, n, deadline, scored));
    strata_status status = STRATA_OK;
    for (size_t i = 0; i < n && *scored && status == STRATA_OK; i++)
        status = strata__bytes_append(&value, &wordings[i].logprob, sizeof wordings->logprob);
    if (*scored && status == STRATA_OK)
        strata__facts_cache_put(txn->facts->cache, key, value.data, value.size,
                                strata__now_ms() - start);
    strata__bytes_free(&value);
    return STRATA_OK;
}

strata_status strata__score_cached(struct strata__txn *txn, struct strata__wording *wordings,
                                   size_t n, double deadline, bool *scored)
{
    const strata_facts *facts = txn->facts;
    struct strata__bytes name = {0}, value = {0};
    if (!facts->cache || add_wordings(facts, wordings, n, &name) != STRATA_OK) {
        strata__bytes_free(&name);
        return strata__predicate_lm_score(txn, wordings, n, deadline, scored);
    }
    const struct strata__cache_key key = {.kind = STRATA__CACHE_SCORE,
                                          .graph = mdb_txn_id(txn->txn),
                                          .model = facts->answer_version,
                                          .text = name.data,
                                          .size = name.size};
    *scored =
        strata__facts_cache_get(facts->cache, &key, &value) && read_scores(&value, wordings, n);
    strata_status status =
        *scored ? STRATA_OK : score_anew(txn, &key, wordings, n, deadline, scored);
    strata__bytes_free(&name);
    strata__bytes_free(&value);
    return status;
}

/* ---- Chains ---- */

/* What the facts of chains come behind. */
struct chains_head {
    uint64_t count, more;
};

static struct strata__cache_key chains_key(const struct strata__txn *txn, const char *question)
{
    return (struct strata__cache_key){.kind = STRATA__CACHE_CHAIN,
                                      .graph = mdb_txn_id(txn->txn),
                                      .model = txn->facts->answer_version,
                                      .text = question,
                                      .size = strlen(question)};
}

/* The facts of chains that are kept; false: there are none. */
static bool read_chains(struct strata__txn *txn, const char *question, struct strata__tier3 *out)
{
    const struct strata__cache_key key = chains_key(txn, question);
    struct strata__bytes value = {0};
    struct chains_head head;
    bool known = strata__facts_cache_get(txn->facts->cache, &key, &value) &&
                 value.size >= sizeof head &&
                 (value.size - sizeof head) % sizeof(struct strata__tier3_fact) == 0;
    *out = (struct strata__tier3){.whole = true};
    if (known) {
        memcpy(&head, value.data, sizeof head);
        known = strata__bytes_append(&out->facts, value.data + sizeof head,
                                     value.size - sizeof head) == STRATA_OK;
        out->count = (size_t)head.count;
        out->more = head.more;
    }
    strata__bytes_free(&value);
    return known;
}

static void keep_chains(struct strata__txn *txn, const char *question,
                        const struct strata__tier3 *found, double cost_ms)
{
    const struct strata__cache_key key = chains_key(txn, question);
    const struct chains_head head = {found->count, found->more};
    struct strata__bytes value = {0};
    if (found->whole && strata__facts_cache_is_worth(txn->facts->cache, cost_ms) &&
        strata__bytes_append(&value, &head, sizeof head) == STRATA_OK &&
        strata__bytes_append(&value, found->facts.data, found->facts.size) == STRATA_OK)
        strata__facts_cache_put(txn->facts->cache, &key, value.data, value.size, cost_ms);
    strata__bytes_free(&value);
}

strata_status strata__chains_cached(struct strata__txn *txn, const char *question, bool explain,
                                    double deadline, struct strata__tier3 *out)
{
    const double start = strata__now_ms();
    if (txn->facts->cache && !explain && read_chains(txn, question, out))
        return STRATA_OK;
    STRATA_TRY(strata__tier3_find(txn, question, deadline, out));
    if (txn->facts->cache && txn->facts->linker)
        keep_chains(txn, question, out, strata__now_ms() - start);
    return STRATA_OK;
}

/* ---- Vectors ---- */

static struct strata__cache_key vector_key(const strata_facts *facts, const strata_text *text)
{
    return (struct strata__cache_key){.kind = STRATA__CACHE_VECTOR,
                                      .model = facts->vector_version,
                                      .text = text->text,
                                      .size = text->size};
}

bool strata__vector_get(strata_facts *facts, const strata_text *text, float *vector)
{
    const struct strata__cache_key key = vector_key(facts, text);
    struct strata__bytes value = {0};
    const bool known = strata__facts_cache_get(facts->cache, &key, &value) &&
                       strata__vector_unpack(value.data, value.size, vector, facts->linker->width);
    strata__bytes_free(&value);
    return known;
}

void strata__vector_put(strata_facts *facts, const strata_text *text, const float *vector,
                        double cost_ms)
{
    const size_t width = facts->linker->width, size = strata__vector_bytes(width);
    const struct strata__cache_key key = vector_key(facts, text);
    unsigned char *packed;
    if (!strata__facts_cache_is_worth(facts->cache, cost_ms) ||
        strata__calloc(&packed, 1, size, "a vector") != STRATA_OK)
        return;
    strata__vector_pack(vector, width, packed);
    strata__facts_cache_put(facts->cache, &key, packed, size, cost_ms);
    strata__free(packed);
}

/* ---- For programs ---- */

void strata_facts_cache_info_get(strata_facts *facts, strata_facts_cache_info *out)
{
    strata__facts_cache_flush(facts->cache);
    strata__facts_cache_info_get(facts->cache, out);
}

strata_status strata_facts_optimise(strata_facts *facts, strata_facts_optimised *out)
{
    const struct strata__cache_versions versions = versions_now(facts);
    strata__facts_cache_flush(facts->cache);
    return strata__facts_cache_optimise(facts->cache, &versions, out);
}
