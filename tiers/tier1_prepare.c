/* What tier 1 finds out about several mentions together (tier1_link.h): they go through the encoder
 * in one pass, and through the sketches of descriptions in another. */
#include <string.h>

#include "answer_cache.h"
#include "memory.h"
#include "mention_cache.h"
#include "model.h"
#include "tier1_link.h"

#define TOKENS_TOGETHER 256 /* of a pass of the encoder, special ones included */

/* Mentions of which something is not known, and their tokens. */
struct group {
    struct strata__txn *txn;
    uint64_t version;
    size_t n, width;
    strata_text texts[STRATA__MENTIONS_TOGETHER];
    size_t tokens[STRATA__MENTIONS_TOGETHER];
    float *vectors;                 /* [n][width] */
    uint64_t *ids;                  /* [n][STRATA__DESCRIPTIONS_MOST] */
    float *scores;                  /* likewise */
    struct strata__mention mention; /* one at a time */
};

/* Adds a mention that is not in the group and not known. */
static strata_status add_mention(struct group *g, const char *mention)
{
    const strata_model *model = g->txn->facts->linker->model;
    const strata_text text = strata__mention_text(mention);
    for (size_t i = 0; i < g->n; i++)
        if (g->texts[i].size == text.size && memcmp(g->texts[i].text, text.text, text.size) == 0)
            return STRATA_OK;
    g->mention.vector = g->vectors;
    strata__mention_cache_get(g->txn->facts->mentions, text.text, text.size, g->version, false,
                              &g->mention);
    if (g->mention.embedded && g->mention.described)
        return STRATA_OK;
    size_t tokens;
    STRATA_TRY(strata_tokenize(model->tokenizer, text.text, text.size, STRATA_TOKENIZE_ADD_BOS,
                               NULL, 0, &tokens));
    g->tokens[g->n] = tokens < model->hp.longest ? tokens : model->hp.longest;
    g->texts[g->n++] = text;
    return STRATA_OK;
}

/* Finds out about mentions first .. first + n - 1 of the group, and keeps it. */
static strata_status find_out(struct group *g, size_t first, size_t n)
{
    strata_facts *facts = g->txn->facts;
    const size_t most = STRATA__DESCRIPTIONS_MOST;
    size_t found;
    STRATA_TRY(strata__embed_cached(facts, g->texts + first, n, g->vectors));
    STRATA_TRY(strata_index_search_sketched(facts->linker->vectors.descriptions, g->vectors, n,
                                            most, g->ids, g->scores, &found));
    for (size_t i = 0; i < n; i++) {
        const strata_text *text = &g->texts[first + i];
        float *vector = g->vectors + i * g->width;
        float kept; /* room for no vector: what is known but for these two is taken over */
        g->mention.width = 0;
        g->mention.vector = &kept;
        strata__mention_cache_get(facts->mentions, text->text, text->size, g->version, false,
                                  &g->mention);
        g->mention.width = g->width;
        g->mention.vector = vector;
        g->mention.embedded = g->mention.described = true;
        g->mention.n_described = found;
        memcpy(g->mention.described_ids, g->ids + i * most, found * sizeof *g->ids);
        memcpy(g->mention.described_scores, g->scores + i * most, found * sizeof *g->scores);
        strata__mention_cache_put(facts->mentions, text->text, text->size, g->version, &g->mention);
    }
    return STRATA_OK;
}

static strata_status prepare(struct group *g, const char *const *mentions, size_t n)
{
    const size_t most = STRATA__MENTIONS_TOGETHER;
    STRATA_TRY(strata__calloc(&g->vectors, most * g->width, sizeof *g->vectors, "vectors"));
    STRATA_TRY(strata__calloc(&g->ids, most * STRATA__DESCRIPTIONS_MOST, sizeof *g->ids, "ids"));
    STRATA_TRY(
        strata__calloc(&g->scores, most * STRATA__DESCRIPTIONS_MOST, sizeof *g->scores, "scores"));
    for (size_t i = 0; i < n; i++)
        STRATA_TRY(add_mention(g, mentions[i]));
    for (size_t first = 0, count; first < g->n; first += count) {
        size_t tokens = g->tokens[first];
        for (count = 1; first + count < g->n; count++) {
            tokens += g->tokens[first + count];
            if (tokens > TOKENS_TOGETHER)
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
    const size_t bytes = sizeof(struct strata__mention) + facts->linker->width * sizeof(float);
    return strata__mention_cache_info_get(facts->mentions).limit >=
           2 * STRATA__MENTIONS_TOGETHER * bytes;
}

strata_status strata__tier1_prepare(struct strata__txn *txn, const char *const *mentions, size_t n)
{
    struct group *g;
    STRATA_TRY(strata__calloc(&g, 1, sizeof *g, "mentions"));
    g->txn = txn;
    g->version = mdb_txn_id(txn->txn);
    g->width = g->mention.width = txn->facts->linker->width;
    strata_status status = prepare(g, mentions, n);
    strata__free(g->vectors);
    strata__free(g->ids);
    strata__free(g->scores);
    strata__free(g);
    return status;
}
