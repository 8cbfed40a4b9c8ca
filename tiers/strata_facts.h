/* A store of facts: RDF triples (W3C RDF 1.1), found exactly or, by tier 1, for other names of
 * their subjects, or, by tier 2, for other words for their predicates.
 *
 *   strata_facts *facts;  strata_facts_result *result;
 *   strata_facts_open(runtime, "kg", NULL, &facts);
 *   strata_facts_import(facts, "kg.nt.zst", NULL, NULL);
 *   strata_facts_query query;
 *   strata_facts_query_default(&query);
 *   query.subject = "Portugal";  query.predicate = "capital";
 *   strata_facts_find(facts, &query, &result);
 *   strata_facts_result_fact(result, 0)->object.label               -- "Lisbon"
 *
 * Part of libstrata; the rules of errors, ownership and structs in <strata.h> hold here.
 *
 * A store is a folder.  Changes are transactions: after a crash, or without power, every change
 * that was reported is there, and none is there in part.  Readers see the store as it was when
 * their call began, also while it changes.  Several processes may use one store; of their changes
 * one at a time is made.
 *
 * Threads.  Any thread may call at any time; strata_facts_close is for the last user. */
#ifndef STRATA_FACTS_H
#define STRATA_FACTS_H

#include "strata.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Store ---- */

typedef struct strata_facts strata_facts;

typedef struct strata_facts_options {
    size_t size;        /* sizeof(strata_facts_options) */
    bool must_exist;    /* a folder without a store is refused, not made into one (default false) */
    size_t cache_bytes; /* that tier 1 keeps of what it found out about mentions, at most (default
                         * 20,000,000; 0: nothing is kept) */
    size_t lm_cache_bytes; /* that a language model keeps of the predicates it read, at most, but
                            * one at least (default 200,000,000) */
    /* Of whole answers, and what tiers found out (Caches, below): bytes at most in memory, in LMDB
     * and compressed on disk (default 0: nothing is kept there). */
    uint64_t cache_memory_bytes, cache_lmdb_bytes, cache_disk_bytes;
} strata_facts_options;

STRATA_API void strata_facts_options_default(strata_facts_options *options);

/* Opens the store in the folder `path`; makes both where there is none.  What it allocates is
 * charged to the runtime's base_indices (strata_memory.h; NULL: to nothing, until a model is used),
 * and the runtime must outlive it.  E_IO: the
 * folder or its files cannot be used, with the reason; E_FORMAT: the store has another layout than
 * this version's, or is damaged; E_BUSY: this process has it open already; E_NOMEM. */
STRATA_API strata_status strata_facts_open(strata_runtime *runtime, const char *path,
                                           const strata_facts_options *options, strata_facts **out);
STRATA_API void strata_facts_close(strata_facts **facts);

/* ---- Import ---- */

/* A statement that was refused: of the file, where, and why, in one line.  What could be read is
 * imported all the same, unless `strict`. */
typedef void strata_facts_problem_fn(void *user, const char *file, uint64_t line, uint64_t column,
                                     const char *reason);

typedef struct strata_facts_import_options {
    size_t size;  /* sizeof(strata_facts_import_options) */
    bool strict;  /* stop at the first refused statement (default false) */
    bool remove;  /* statements of the file are removed, not added (default false) */
    bool restart; /* begin at the start of a file of which a part was imported (default false) */
    strata_facts_problem_fn *on_problem; /* or NULL */
    strata_progress_fn *on_progress;     /* or NULL: bytes of the file */
    void *user;                          /* of both */
} strata_facts_import_options;

STRATA_API void strata_facts_import_options_default(strata_facts_import_options *options);

typedef struct strata_facts_import_info {
    uint64_t statements; /* that could be read, those passed over not counted */
    uint64_t changed;    /* triples that were not there before; with `remove`: that were */
    uint64_t refused;    /* lines of N-Triples, statements of Turtle */
    uint64_t resumed;    /* lines or statements passed over: an import before had got so far */
} strata_facts_import_info;

/* Adds the triples of a file: N-Triples (.nt) or Turtle (.ttl), also compressed (.gz, .zst); a name
 * without these endings is N-Triples.  Blank nodes are the file's own, known by its full path: the
 * same file again adds nothing.  The file is committed in batches, in bounded memory, and each says
 * how far it got: a file (path, size, time) whose import was interrupted goes on from there.  With
 * `remove`, blank nodes are those of the store, as strata_facts_export writes them.  E_IO: the file
 * cannot be read, or the store not be written (EIO of the disk: until it is opened again);
 * E_FORMAT: strict, and a statement was refused, or the compressed data are damaged; E_CANCELLED:
 * on_progress said so; E_NOMEM.  After an error the batches before are there, and *info (may be
 * NULL) counts them. */
STRATA_API strata_status strata_facts_import(strata_facts *facts, const char *path,
                                             const strata_facts_import_options *options,
                                             strata_facts_import_info *info);

/* ---- Find ---- */

typedef enum strata_term_kind {
    STRATA_TERM_IRI,
    STRATA_TERM_BLANK,
    STRATA_TERM_LITERAL
} strata_term_kind;

typedef struct strata_term {
    uint64_t id; /* of the store, as long as it lives */
    strata_term_kind kind;
    const char *text; /* the IRI, the blank node's name, or the literal's text; terminated */
    size_t size;      /* of text, which may hold NUL */
    const char *language, *datatype; /* of literals; NULL: none (of xsd:string neither) */
    const char *label;               /* of IRIs: a label in the store, or NULL */
} strata_term;

typedef struct strata_fact {
    strata_term subject, predicate, object;
    double score;    /* 1: exact; else how likely subject and predicate are those that are meant */
    const char *why; /* of tiers 1 and 2: what counted most; of tier 3: "answer" or, of what led
                      * there, "chain"; static; NULL: exact */
} strata_fact;

/* A term of a query is a text: "<IRI>", "_:NAME", a literal of N-Triples ("\"5\"^^<...integer>"),
 * an IRI as it is, or a name: of subjects and predicates a label (rdfs:label, skos:prefLabel,
 * skos:altLabel), of objects a label or the text of a literal; of a predicate, where nothing has it
 * as a label, also the end of its IRI, behind '/', '#' or ':'.  Names are compared after Unicode
 * NFKC and case folding, without leading, trailing and double spaces; typed literals by value ("1"
 * and "01.0" are the same number, and 5 as a name finds both). */
typedef struct strata_facts_query {
    size_t size;                              /* sizeof(strata_facts_query) */
    const char *subject, *predicate, *object; /* NULL: any */
    const char *question;   /* NULL (default); else it is asked, and the three are NULL */
    uint64_t offset, limit; /* facts that are passed over, and that are given at most (default 0,
                             * 1000; limit 0: all) */
    double deadline_ms;     /* 0 (default): none; of questions 500, tier 3's own */
    int max_tier;           /* 0: exact only; 1: and other names of subjects; 2: and other words for
                             * predicates; 3 (default): and questions */
    bool explain;           /* keep what tiers 1 to 3 considered (default false) */
} strata_facts_query;

STRATA_API void strata_facts_query_default(strata_facts_query *query);

typedef struct strata_facts_result strata_facts_result;

/* Finds all facts of the pattern.  Where a name has several bearers, those come first that bear it
 * as their first label, then those with more facts.
 *
 * Where nothing is found exactly, and the subject is a name, the predicate is known and the object
 * any, tier 1 looks for entities that the name may mean (codes, spelling, other names, and after
 * strata_facts_use_model also descriptions) and gives the facts of the best ten that are at least a
 * fiftieth as likely as the best, best first, unless even that one is unlikely.  An entity of that
 * very name that is of a kind that has the predicate is meant, and has no such fact: nothing is
 * given.  By its meaning a name is compared as far as its first 4,096 bytes go, a phrase 1,024.
 * Callers that ask at the same time go through the model together.
 *
 * Where the predicate is a text that names none of the graph's, and the object any, tier 2 takes it
 * for a phrase: it scores the predicates of the graph (the first 16,384) by what the graph says of
 * them, and gives the facts of the best six that the entity has, which is named exactly, best
 * predicate first, unless even the best is unlikely.  A predicate without a declared inverse
 * (owl:inverseOf) is also read backwards: then the entity is the facts' object.  Where no entity of
 * that name has such facts, tier 1 looks for others with each of the best four predicates; the
 * score is the product of both.  Tier 2 needs strata_facts_use_model; strata_facts_use_lm improves
 * it.
 *
 * A question is for tier 3: from what its words (the first 64) name in the graph, an entity or a
 * literal, it searches for chains of at most five facts that explain all words, and gives the facts
 * of the last hop of the best chain, those of others that are nearly as good, and then the facts
 * that led to them; where two chains from different names that end at the same explain more ("films
 * by one and with another"), those that lead to what both end at; unless even the best is unlikely
 * to be meant, or a chain that the graph has not explains the question better.  Where the deadline
 * comes, it is the best that was found until then. Tier 3 needs strata_facts_use_model.
 *
 * No fact is no error.  E_INVALID: a term that cannot be read, named, or a question beside one;
 * E_IO, E_NOMEM. */
STRATA_API strata_status strata_facts_find(strata_facts *facts, const strata_facts_query *query,
                                           strata_facts_result **out);
STRATA_API void strata_facts_result_free(strata_facts_result **result);

/* Finds n queries one after the other, each as strata_facts_find does, with the same results but
 * for the rounding of floats; results[i] is that of queries[i].  Where a model is in use, up to 32
 * mentions or phrases, of 256 tokens together, pass through it at once, and mentions through the
 * descriptions, which takes less time than one by one; they are passed on in the cache
 * (cache_bytes).  A query's latency_ms, and its deadline, count from its own turn on, and with its
 * share of what was done together.  The first error is returned: the results before it are there,
 * those from it on are NULL. */
STRATA_API strata_status strata_facts_find_many(strata_facts *facts,
                                                const strata_facts_query *queries, size_t n,
                                                strata_facts_result **results);

typedef struct strata_facts_answer {
    size_t n_facts;
    int tier;       /* 0: found exactly; 1, 2, 3: by that tier; -1: nothing was found */
    size_t count;   /* of questions: of what the best chain leads to, up to 4096 */
    bool complete;  /* these are all facts from `offset` on; else the limit or the deadline came */
    bool timed_out; /* it was the deadline */
    double latency_ms;
} strata_facts_answer;

STRATA_API strata_facts_answer strata_facts_result_answer(const strata_facts_result *result);

/* How long a tier took, tier 1 as part of tier 2 counted there; 0: it was not asked, or the answer
 * was kept. */
#define STRATA_FACTS_TIERS 4
STRATA_API double strata_facts_result_tier_ms(const strata_facts_result *result, int tier);

/* index < n_facts; borrowed until the result is freed. */
STRATA_API const strata_fact *strata_facts_result_fact(const strata_facts_result *result,
                                                       size_t index);

/* strata_facts_find for those who want text, such as bindings: each fact is three lines, its
 * subject, predicate and object as N-Triples write them, without labels.  Stores at most `capacity`
 * bytes, the last of them a terminator, and the full length, without it, in *size; text may be NULL
 * when capacity is 0.  *answer may be NULL. */
STRATA_API strata_status strata_facts_find_text(strata_facts *facts,
                                                const strata_facts_query *query, char *text,
                                                size_t capacity, size_t *size,
                                                strata_facts_answer *answer);

/* A candidate of tier 1, for queries with `explain`; of tier 2, with its predicate's share in the
 * score. */
#define STRATA_FACTS_EVIDENCE 9
typedef struct strata_facts_candidate {
    strata_term entity;
    double score;
    double evidence[STRATA_FACTS_EVIDENCE]; /* strata_facts_evidence_name; 0: none */
} strata_facts_candidate;

STRATA_API size_t strata_facts_result_candidates(const strata_facts_result *result);
/* index < strata_facts_result_candidates, best first; borrowed until the result is freed. */
STRATA_API const strata_facts_candidate *
strata_facts_result_candidate(const strata_facts_result *result, size_t index);

/* What evidence `index` < STRATA_FACTS_EVIDENCE is. */
STRATA_API const char *strata_facts_evidence_name(size_t index);

/* A predicate that tier 2 considered, for queries with `explain`: the best ones, at most 256. */
#define STRATA_FACTS_PHRASE_EVIDENCE 5
typedef struct strata_facts_expansion {
    strata_term predicate;
    bool reversed; /* the entity is the object of its facts */
    bool held;     /* an entity of the very name has such facts */
    double score;
    double evidence[STRATA_FACTS_PHRASE_EVIDENCE]; /* strata_facts_phrase_evidence_name; 0: none */
} strata_facts_expansion;

STRATA_API size_t strata_facts_result_expansions(const strata_facts_result *result);
/* index < strata_facts_result_expansions, best first; borrowed until the result is freed. */
STRATA_API const strata_facts_expansion *
strata_facts_result_expansion(const strata_facts_result *result, size_t index);

/* What tier 2 did with the language model: "asked", "no time", "no memory"; "not needed" (only
 * without `explain`, which always asks); NULL: there is none, or no phrase. */
STRATA_API const char *strata_facts_result_lm(const strata_facts_result *result);

/* What evidence `index` < STRATA_FACTS_PHRASE_EVIDENCE is. */
STRATA_API const char *strata_facts_phrase_evidence_name(size_t index);

/* A chain that tier 3 found in the graph, for queries with `explain`: the best ones, at most 32. */
#define STRATA_FACTS_HOPS 5
typedef struct strata_facts_chain {
    strata_term start; /* what the question names */
    const char *words; /* the name there */
    size_t hops, ends; /* of the chain; terms that it leads to, of those that were looked at */
    strata_term predicates[STRATA_FACTS_HOPS];
    bool reversed[STRATA_FACTS_HOPS]; /* from the predicate's object to its subject */
    bool joined;                      /* the first two, where they are: what both end at is meant */
    double score;                     /* of its alignment with the question */
} strata_facts_chain;

STRATA_API size_t strata_facts_result_chains(const strata_facts_result *result);
/* index < strata_facts_result_chains, best first; borrowed until the result is freed. */
STRATA_API const strata_facts_chain *strata_facts_result_chain(const strata_facts_result *result,
                                                               size_t index);

/* How likely the best chain is to be meant, and the evidence of that. */
#define STRATA_FACTS_CHAIN_EVIDENCE 6
typedef struct strata_facts_meaning {
    double score;
    double least;                                 /* below it nothing is given */
    double evidence[STRATA_FACTS_CHAIN_EVIDENCE]; /* strata_facts_chain_evidence_name */
} strata_facts_meaning;

STRATA_API strata_facts_meaning strata_facts_result_meaning(const strata_facts_result *result);

/* What evidence `index` < STRATA_FACTS_CHAIN_EVIDENCE is. */
STRATA_API const char *strata_facts_chain_evidence_name(size_t index);

/* ---- Vectors ---- */

/* Makes the vectors of labels, descriptions and predicates that are missing, in the store's folder,
 * by a model of sentence vectors: all of them at first, those of new ones later.  They are kept
 * from time to time, also when on_progress (may be NULL) stops the work, which goes on the next
 * time.  Vectors of another model are made anew.  *made (may be NULL) says how many.  One at a time
 * for a store. E_INVALID: the model makes none; E_IO, E_NOMEM, E_CANCELLED, and what strata_embed
 * returns. */
STRATA_API strata_status strata_facts_index(strata_facts *facts, strata_model *model,
                                            strata_progress_fn *on_progress, void *user,
                                            uint64_t *made);

/* True when vectors were made. */
STRATA_API bool strata_facts_has_vectors(const strata_facts *facts);

/* Uses vectors, and the model that made them, in queries from then on; the model must outlive the
 * store.  Once, and beside no other call.
 *
 * Vectors stay in their files, mapped, as part of base_indices: of labels those are read that are
 * asked for.  Descriptions are searched by 4-bit sketches in memory, charged to
 * tier1_linker/embedding_cache(entities), and of their vectors those are read that sketches say are
 * near; where there are fewer than 4,120 of them, or no room for sketches (a warning is logged),
 * all are read.  A model that is loaded with the component "tier1_linker" is charged to that tier.
 * Its runtime's threads are those of tier 1, for which half of the cores will do
 * (STRATA_THREADS_HALF).
 * E_INVALID: the store has none, or of another model;
 * E_BUSY: one is in use; E_FORMAT, E_IO: of the files; E_NOMEM. */
STRATA_API strata_status strata_facts_use_model(strata_facts *facts, strata_model *model);

/* Uses a language model in queries from then on, once, and beside no other call; it must outlive
 * the store.  Where entities of the very name have some of the predicates, tier 2 then asks it
 * about eight, the best four of all and the best of theirs: how probable the phrase is as another
 * name of each; they are scored by that too, and given where the best is likely with it or without.
 * It is not asked where one of theirs is clearly meant or none, nor where the deadline would
 * probably come before, by what a token took lately: then the answer is as without it.
 *
 * What it has read of predicates stays in memory, as keys and values, of those that were used last
 * up to lm_cache_bytes, charged as the model's context; predicates are read when they are first
 * asked about, which takes longer, or by strata_facts_warm_lm.  Load the model with the component
 * "tier2_expander", and for small ones with STRATA_COMPUTE_DYNAMIC.  E_BUSY: one is in use;
 * E_INVALID: the model's context is shorter than 128 tokens; E_UNSUPPORTED: it generates no text;
 * E_BUDGET, E_NOMEM. */
STRATA_API strata_status strata_facts_use_lm(strata_facts *facts, strata_model *model);

/* Lets the language model read the predicates of the graph, as many as have room.  on_progress (may
 * be NULL) counts them.  Queries wait meanwhile.  E_INVALID: none is in use; E_CANCELLED,
 * E_BUDGET, E_IO, E_NOMEM. */
STRATA_API strata_status strata_facts_warm_lm(strata_facts *facts, strata_progress_fn *on_progress,
                                              void *user);

typedef struct strata_facts_lm_info {
    uint64_t predicates, bytes, limit_bytes; /* that it has read and are in memory */
    uint64_t hits, misses;                   /* since it came into use, of predicates */
    double ms_a_token;                       /* lately */
} strata_facts_lm_info;

STRATA_API void strata_facts_lm_info_get(strata_facts *facts, strata_facts_lm_info *out);

/* What tier 1 has in memory, and what its cache was good for.
 *
 * Of the mentions that were looked up last, tier 1 keeps what does not depend on the predicate: the
 * vector, the nearest descriptions, the labels that are spelled alike.  A mention is known by its
 * text (spaces at its ends do not count) as long as the store does not change: any change of it, by
 * whichever process, ends what was kept.  The cache is charged to
 * tier1_linker/result_cache(entities), whose limit holds as well as cache_bytes, and gives memory
 * back where it is short. */
typedef struct strata_facts_tier1_info {
    uint64_t vectors;        /* in use: of labels and descriptions */
    uint64_t mapped_bytes;   /* of their files, */
    uint64_t resident_bytes; /* of which so many are in memory, as the system says */
    uint64_t sketch_bytes;   /* in memory; 0: searches read all vectors of descriptions */
    uint64_t cache_bytes, cache_limit_bytes, cache_mentions;
    uint64_t cache_hits, cache_misses; /* since the store was opened */
} strata_facts_tier1_info;

STRATA_API void strata_facts_tier1_info_get(strata_facts *facts, strata_facts_tier1_info *out);

/* ---- Caches ---- */

/* With budgets for them (strata_facts_options), answers of queries without `explain`, that are
 * complete, are kept, and so are the predicates that tier 2 found for a phrase, and vectors of
 * mentions, on three levels: in memory, in LMDB, and compressed by zstd in files.  How often a
 * query was asked lately, how long it took, and what it would displace say on which levels its
 * answer is kept, if at all.  An answer is given again only for the same query (texts, limit,
 * offset, tier), as long as neither the graph changes nor the vectors or the model do; it is the
 * same then, but for latency_ms and, once the graph has changed, the last digits of scores, as
 * vectors are kept with 8 bits an element (a cosine of 0.999 or more).
 *
 * Files are in the folder `cache` of the store, and written by a thread that does not keep queries
 * waiting.  One process at a time uses them, another one memory alone.  None of their errors fails
 * a query: that level is then not used any more, which is logged once.  The folder may be removed
 * while no process has the store open.  Memory is charged to
 * tier2_expander/result_cache(semantic), whose limit holds as well, from strata_facts_use_model on
 * where the store was opened without a runtime. */
#define STRATA_FACTS_CACHE_LEVELS 3
#define STRATA_FACTS_LIKELIHOODS 5
typedef struct strata_facts_cache_level {
    bool used; /* it is open; else its budget is 0, or its files cannot be used */
    uint64_t bytes, limit_bytes, values;
    uint64_t hits;     /* since the store was opened */
    uint64_t all_hits; /* and before, as far as it was closed in order */
    double read_ms;    /* a moving mean */
} strata_facts_cache_level;

typedef struct strata_facts_cache_info {
    strata_facts_cache_level levels[STRATA_FACTS_CACHE_LEVELS]; /* memory, LMDB, disk */
    uint64_t misses, all_misses;
    uint64_t kept[STRATA_FACTS_LIKELIHOODS]; /* values by how likely they are asked for again, the
                                              * least likely, which are not kept, first */
    uint64_t not_written;                    /* too many came at once */
    uint64_t discarded;                      /* files and values that were damaged, or of another
                                              * store or version */
    uint64_t raw_bytes, compressed_bytes;    /* of values on disk */
    bool has_dictionary;
} strata_facts_cache_info;

/* Waits until what waits is written. */
STRATA_API void strata_facts_cache_info_get(strata_facts *facts, strata_facts_cache_info *out);

typedef struct strata_facts_optimised {
    uint64_t stale, promoted, demoted; /* values: of other versions, which are dropped; that went to
                                        * a faster level; to a slower one */
    uint64_t predicted_bytes, freed_bytes; /* by dropping, demoting and compressing anew */
    double predicted_ms, measured_ms; /* that promoted values take less to read, if they are asked
                                       * for as often as lately: by mean times of levels; by reading
                                       * some before and after */
    double ms;                        /* that it took */
} strata_facts_optimised;

/* Drops what is stale, moves what is used often up and what is not down, and compresses all on disk
 * anew with a dictionary that is trained on it.  Without a model in use, what follows from models
 * is stale.  E_INVALID: the store has no caches; E_IO, E_NOMEM. */
STRATA_API strata_status strata_facts_optimise(strata_facts *facts, strata_facts_optimised *out);

/* ---- Change, look, take out ---- */

/* Removes all facts of the pattern (offset, limit and deadline are not looked at; a pattern of
 * three NULLs is E_INVALID); *removed may be NULL.  Otherwise as strata_facts_find. */
STRATA_API strata_status strata_facts_remove(strata_facts *facts, const strata_facts_query *pattern,
                                             uint64_t *removed);

/* Takes `size` bytes of output; false stops the export, which then is E_CANCELLED.  It must not
 * call anything of the same store: a change might wait for the export for ever. */
typedef bool strata_facts_write_fn(void *user, const char *bytes, size_t size);

/* Writes all triples as canonical N-Triples, a line each, those of a subject together.  E_IO,
 * E_NOMEM, E_CANCELLED. */
STRATA_API strata_status strata_facts_export(strata_facts *facts, strata_facts_write_fn *write,
                                             void *user);

typedef struct strata_facts_info {
    uint64_t triples, terms;
    uint64_t subjects, predicates, objects; /* distinct ones in triples */
    uint64_t file_bytes;                    /* on disk */
    uint64_t free_bytes;                    /* of them, for later changes */
} strata_facts_info;

STRATA_API strata_status strata_facts_info_get(strata_facts *facts, strata_facts_info *out);

/* Reads the whole store and compares its indices: each triple is in all three orders, each term is
 * found by its text, each literal by its value, each label by its spelling.  E_FORMAT: they
 * disagree, with the first such place; E_IO, E_NOMEM, E_CANCELLED.  on_progress (may be NULL)
 * counts triples and terms. */
STRATA_API strata_status strata_facts_check(strata_facts *facts, strata_progress_fn *on_progress,
                                            void *user);

#ifdef __cplusplus
}
#endif

#endif
