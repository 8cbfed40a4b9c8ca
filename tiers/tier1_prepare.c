/* What the model is needed for (tier1_link.h): the vectors of mentions and phrases, and the
 * descriptions that are near mentions.  Texts of several queries go through it together, by the
 * queue those of several callers, here those of one. */
#include <math.h>
#include <string.h>

#include "answer_cache.h"
#include "deadline.h"
#include "memory.h"
#include "mention_cache.h"
#include "tier1_link.h"

#define TOGETHER STRATA__ASKED_TOGETHER

/* Asks the queue for one text, and keeps its vector. */
static strata_status ask_queue(strata_facts *facts, struct strata__embed_request *request,
                               double deadline)
{
    const double start = strata__now_ms();
    STRATA_TRY(strata__embed_together(facts->linker->queue, request, deadline));
    if (request->done)
        strata__vector_put(facts, request->texts, request->vectors, strata__now_ms() - start);
    return STRATA_OK;
}

strata_status strata__tier1_ask(strata_facts *facts, const strata_text *text, double deadline,
                                struct strata__mention *mention)
{
    struct strata__embed_request request = {.texts = text,
                                            .n = 1,
                                            .vectors = mention->vector,
                                            .ids = mention->described_ids,
                                            .scores = mention->described_scores};
    mention->embedded = strata__vector_get(facts, text, mention->vector);
    if (mention->embedded)
        return STRATA_OK; /* what is near it is searched for when that is needed */
    STRATA_TRY(ask_queue(facts, &request, deadline));
    mention->embedded = mention->described = request.done;
    mention->n_described = request.found;
    return STRATA_OK;
}

/* ---- What is kept of phrases ---- */

/* Behind a NUL, which no mention has: so that they are not taken for mentions. */
struct phrase_key {
    char text[1 + STRATA__PHRASE_BYTES];
    size_t size;
};

static void make_key(struct phrase_key *key, const strata_text *phrase)
{
    key->text[0] = '\0';
    memcpy(key->text + 1, phrase->text, phrase->size);
    key->size = 1 + phrase->size;
}

static bool get_phrase(struct strata__txn *txn, const strata_text *phrase, float *vector)
{
    struct strata__mention known = {.width = txn->facts->linker->width, .vector = vector};
    struct phrase_key key;
    make_key(&key, phrase);
    return strata__mention_cache_get(txn->facts->mentions, key.text, key.size, mdb_txn_id(txn->txn),
                                     false, &known) &&
           known.embedded;
}

static void keep_phrase(struct strata__txn *txn, const strata_text *phrase, float *vector)
{
    const struct strata__mention known = {
        .width = txn->facts->linker->width, .vector = vector, .embedded = true};
    struct phrase_key key;
    make_key(&key, phrase);
    strata__mention_cache_put(txn->facts->mentions, key.text, key.size, mdb_txn_id(txn->txn),
                              &known);
}

strata_status strata__phrase_vector(struct strata__txn *txn, const char *phrase, double deadline,
                                    float *vector, bool *made)
{
    const strata_text text = strata__phrase_text(phrase);
    struct strata__embed_request request = {.texts = &text, .n = 1, .vectors = vector};
    *made = get_phrase(txn, &text, vector);
    if (*made)
        return STRATA_OK;
    *made = strata__vector_get(txn->facts, &text, vector);
    if (!*made) {
        STRATA_TRY(ask_queue(txn->facts, &request, deadline));
        *made = request.done;
    }
    if (*made)
        keep_phrase(txn, &text, vector);
    return STRATA_OK;
}

/* ---- Together ---- */

/* Texts of which something is not known: mentions, or phrases. */
struct group {
    struct strata__txn *txn;
    bool phrases;
    size_t n, width;
    strata_text texts[TOGETHER];
    size_t tokens[TOGETHER];
    float *vectors;                 /* [TOGETHER][width] */
    uint64_t *ids;                  /* [TOGETHER][STRATA__DESCRIPTIONS_MOST]; of mentions */
    float *scores;                  /* likewise */
    struct strata__mention mention; /* one at a time */
};

/* What is known of a mention but for its vector and descriptions goes to g->mention. */
static bool is_known(struct group *g, const strata_text *text, float *vector)
{
    if (g->phrases)
        return get_phrase(g->txn, text, vector);
    g->mention.vector = vector;
    strata__mention_cache_get(g->txn->facts->mentions, text->text, text->size,
                              mdb_txn_id(g->txn->txn), false, &g->mention);
    return g->mention.embedded;
}

/* Adds a text that is not in the group and not known. */
static strata_status add_text(struct group *g, strata_text text)
{
    for (size_t i = 0; i < g->n; i++)
        if (g->texts[i].size == text.size && memcmp(g->texts[i].text, text.text, text.size) == 0)
            return STRATA_OK;
    if (is_known(g, &text, g->vectors))
        return STRATA_OK;
    STRATA_TRY(strata__embed_queue_tokens(g->txn->facts->linker->queue, &text, &g->tokens[g->n]));
    g->texts[g->n++] = text;
    return STRATA_OK;
}

static void keep_mention(struct group *g, const strata_text *text, size_t i, size_t found)
{
    const size_t most = STRATA__DESCRIPTIONS_MOST;
    float kept; /* room for no vector: what is known but for these two is taken over */
    g->mention.width = 0;
    is_known(g, text, &kept);
    g->mention.width = g->width;
    g->mention.vector = g->vectors + i * g->width;
    g->mention.embedded = g->mention.described = true;
    g->mention.n_described = found;
    memcpy(g->mention.described_ids, g->ids + i * most, found * sizeof *g->ids);
    memcpy(g->mention.described_scores, g->scores + i * most, found * sizeof *g->scores);
    strata__mention_cache_put(g->txn->facts->mentions, text->text, text->size,
                              mdb_txn_id(g->txn->txn), &g->mention);
}

/* Finds out about texts first .. first + n - 1 of the group, and keeps it. */
static strata_status find_out(struct group *g, size_t first, size_t n)
{
    struct strata__embed_request request = {.texts = g->texts + first,
                                            .n = n,
                                            .vectors = g->vectors,
                                            .ids = g->phrases ? NULL : g->ids,
                                            .scores = g->scores};
    STRATA_TRY(strata__embed_together(g->txn->facts->linker->queue, &request, INFINITY));
    for (size_t i = 0; i < n; i++)
        if (g->phrases)
            keep_phrase(g->txn, &g->texts[first + i], g->vectors + i * g->width);
        else
            keep_mention(g, &g->texts[first + i], i, request.found);
    return STRATA_OK;
}

static strata_status prepare(struct group *g, bool phrases, const char *const *texts, size_t n)
{
    g->phrases = phrases;
    g->n = 0;
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(
            add_text(g, phrases ? strata__phrase_text(texts[i]) : strata__mention_text(texts[i])));
    for (size_t first = 0, count; first < g->n; first += count) {
        size_t tokens = g->tokens[first];
        for (count = 1; first + count < g->n; count++) {
            tokens += g->tokens[first + count];
            if (tokens > STRATA__TOKENS_TOGETHER)
                break;
        }
        STRATA_TRY(find_out(g, first, count));
    }
    return STRATA_OK;
}

bool strata__tier1_prepares(const strata_facts *facts)
{
    if (!facts->linker)
        return false;
    const size_t vector = facts->linker->width * sizeof(float),
                 bytes = sizeof(struct strata__mention) + STRATA__PHRASE_BYTES + 2 * vector;
    return strata__mention_cache_info_get(facts->mentions).limit >= 2 * TOGETHER * bytes;
}

strata_status strata__tier1_prepare(struct strata__txn *txn, const char *const *mentions,
                                    size_t n_mentions, const char *const *phrases, size_t n_phrases)
{
    struct group *g;
    const size_t nearest = TOGETHER * STRATA__DESCRIPTIONS_MOST;
    STRATA_TRY(strata__calloc(&g, 1, sizeof *g, "mentions"));
    g->txn = txn;
    g->width = g->mention.width = txn->facts->linker->width;
    strata_status status =
        strata__calloc(&g->vectors, TOGETHER * g->width, sizeof *g->vectors, "vectors");
    if (status == STRATA_OK)
        status = strata__calloc(&g->ids, nearest, sizeof *g->ids, "ids");
    if (status == STRATA_OK)
        status = strata__calloc(&g->scores, nearest, sizeof *g->scores, "scores");
    if (status == STRATA_OK)
        status = prepare(g, false, mentions, n_mentions);
    if (status == STRATA_OK && txn->facts->linker->vectors.predicates)
        status = prepare(g, true, phrases, n_phrases);
    strata__free(g->vectors);
    strata__free(g->ids);
    strata__free(g->scores);
    strata__free(g);
    return status;
}
