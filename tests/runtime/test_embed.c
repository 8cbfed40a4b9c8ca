/* strata_embed: any number of texts, what is cut, hostile texts, models that are refused. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder.h"
#include "engine_fixture.h"
#include "gguf_fixture.h"
#include "gguf_write.h"
#include "tokenizer.h"

#define TINY STRATA_TEST_DATA "/tiny/bert.gguf"
#define WIDTH 64
#define CONTEXT 128
#define ALIKE 1e-6f /* vectors of length 1, other order of sums */

static strata_text text_of(const char *text)
{
    return (strata_text){text, strlen(text)};
}

static strata_embed_options defaults(void)
{
    strata_embed_options options;
    strata_embed_options_default(&options);
    return options;
}

static void embed(const struct engine *engine, const strata_text *texts, size_t n,
                  const strata_embed_options *options, float *vectors, strata_embed_info *infos)
{
    if (strata_embed(engine->model, texts, n, options, vectors, infos) != STRATA_OK)
        fail_msg("%s", strata_last_error());
}

static float distance(const float *a, const float *b)
{
    float most = 0;
    for (size_t i = 0; i < WIDTH; i++)
        most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

static struct engine open_tiny(int threads)
{
    return engine_open(TINY, (struct engine_options){.threads = threads});
}

/* More texts than a slice and a batch take, of all lengths, in no order: each vector is that of the
 * text alone, and has length 1. */
static void many_texts(void **state)
{
    (void)state;
    static const char words[] = "the cat and the old dog playing in the river by the green tree "
                                "with a bird that sang all day and the night came over the hills";
    enum { N = 1500 };
    struct engine engine = open_tiny(2);
    strata_text *texts = calloc(N, sizeof *texts);
    strata_embed_info *infos = calloc(N, sizeof *infos);
    float *vectors = malloc(N * WIDTH * sizeof *vectors), alone[WIDTH];
    for (size_t i = 0; i < N; i++)
        texts[i] = (strata_text){words + i % 40, i * 31 % (sizeof words - 41)};
    embed(&engine, texts, N, NULL, vectors, infos);
    for (size_t i = 0; i < N; i++) {
        double squares = 0;
        for (size_t k = 0; k < WIDTH; k++)
            squares += (double)vectors[i * WIDTH + k] * (double)vectors[i * WIDTH + k];
        assert_true(fabs(squares - 1) < 1e-6);
        assert_true(infos[i].tokens >= 2 && infos[i].tokens <= CONTEXT);
        if (i % 37)
            continue;
        strata_embed_info info;
        embed(&engine, &texts[i], 1, NULL, alone, &info);
        assert_int_equal(info.tokens, infos[i].tokens);
        if (distance(alone, vectors + i * WIDTH) > ALIKE)
            fail_msg("text %zu: %g", i, (double)distance(alone, vectors + i * WIDTH));
    }
    embed(&engine, texts, 0, NULL, vectors, NULL); /* none is fine */
    free(vectors);
    free(infos);
    free(texts);
    engine_close(&engine);
}

static void cut_texts(void **state)
{
    (void)state;
    struct engine engine = open_tiny(1);
    enum { SIZE = 4000 };
    char *text = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = "cat "[i % 4];
    strata_text both[2] = {{text, SIZE}, text_of("cat")};
    float vectors[2 * WIDTH], shorter[WIDTH];
    strata_embed_info infos[2];
    embed(&engine, both, 2, NULL, vectors, infos);
    assert_true(infos[0].truncated && infos[0].tokens == CONTEXT);
    assert_true(!infos[1].truncated && infos[1].tokens < 10);
    /* Cut to 5 tokens: the first four and [SEP]. */
    strata_embed_options options = defaults();
    options.max_tokens = 5;
    options.no_normalize = true;
    embed(&engine, both, 1, &options, vectors, infos);
    assert_true(infos[0].truncated && infos[0].tokens == 5);
    int32_t ids[5], ends[2];
    size_t count;
    const strata_tokenizer *tokenizer = strata_model_tokenizer(engine.model);
    assert_int_equal(
        strata_tokenize(tokenizer, text, SIZE, STRATA_TOKENIZE_ADD_BOS, ids, 5, &count), STRATA_OK);
    assert_true(count > CONTEXT);
    assert_int_equal(strata_tokenize(tokenizer, "", 0, STRATA_TOKENIZE_ADD_BOS, ends, 2, &count),
                     STRATA_OK);
    ids[4] = ends[1];
    assert_int_equal(
        strata__encode_sequences(engine.model, &(struct strata__sequence){ids, 5}, 1, shorter),
        STRATA_OK);
    assert_true(distance(shorter, vectors) == 0);
    static const size_t bad[] = {1, CONTEXT + 1, SIZE_MAX};
    for (size_t i = 0; i < 3; i++) {
        options.max_tokens = bad[i];
        assert_int_equal(strata_embed(engine.model, both, 1, &options, vectors, NULL),
                         STRATA_E_INVALID);
        gguf_says(strata_last_error(), "max_tokens");
    }
    free(text);
    engine_close(&engine);
}

static void options_count(void **state)
{
    (void)state;
    struct engine engine = open_tiny(1);
    strata_text text = text_of("the [MASK] dog");
    float unit[WIDTH], raw[WIDTH], special[WIDTH];
    strata_embed_options options = defaults();
    embed(&engine, &text, 1, &options, unit, NULL);
    options.no_normalize = true;
    embed(&engine, &text, 1, &options, raw, NULL);
    double length = 0;
    for (size_t i = 0; i < WIDTH; i++)
        length += (double)raw[i] * (double)raw[i];
    assert_true(fabs(length - 1) > 1e-3);
    for (size_t i = 0; i < WIDTH; i++)
        assert_true(fabsf(raw[i] / (float)sqrt(length) - unit[i]) < ALIKE);
    options = defaults();
    options.special = true;
    embed(&engine, &text, 1, &options, special, NULL);
    assert_true(distance(special, unit) > 1e-3f);
    options.size--;
    assert_int_equal(strata_embed(engine.model, &text, 1, &options, unit, NULL), STRATA_E_INVALID);
    gguf_says(strata_last_error(), "strata_embed_options: size");
    engine_close(&engine);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* 16 MB without a space, a million combining marks, invalid UTF-8, NUL, nothing: bounded time. */
static void hostile_texts(void **state)
{
    (void)state;
    struct engine engine = open_tiny(1);
    size_t size = (size_t)16 << 20;
    char *longest = malloc(size), *marks = malloc(2000001), *invalid = malloc(100000);
    memset(longest, 'a', size);
    marks[0] = 'e';
    for (size_t i = 0; i < 1000000; i++)
        memcpy(marks + 1 + 2 * i, "\xcc\x81", 2);
    for (size_t i = 0; i < 100000; i++)
        invalid[i] = (char)(i * 97 + 128);
    strata_text texts[] = {{longest, size}, {marks, 2000001}, {invalid, 100000},  {"a\0b", 3},
                           {NULL, 0},       {"", 0},          {"\xef\xbf\xbd", 3}};
    enum { N = sizeof texts / sizeof *texts };
    float vectors[N * WIDTH];
    strata_embed_info infos[N];
    double start = seconds_now();
    embed(&engine, texts, N, NULL, vectors, infos);
    assert_true(seconds_now() - start < 60); /* a second or two; sanitizers take ten times that */
    for (size_t i = 0; i < N * WIDTH; i++)
        assert_true(isfinite(vectors[i]));
    assert_int_equal(infos[4].tokens, 2);
    assert_true(distance(vectors + 4 * WIDTH, vectors + 5 * WIDTH) == 0);
    free(longest);
    free(marks);
    free(invalid);
    engine_close(&engine);
}

/* ---- threads ---- */

struct caller {
    const struct engine *engine;
    const float *wanted;
    size_t offset;
    bool right;
};

static const char *const sentences[] = {"the cat", "a river", "the old green dog", "", "night"};
enum { SENTENCES = sizeof sentences / sizeof *sentences };

static void *call_often(void *context)
{
    struct caller *caller = context;
    caller->right = true;
    for (size_t r = 0; r < 50; r++) {
        strata_text texts[SENTENCES];
        float vectors[SENTENCES * WIDTH];
        for (size_t i = 0; i < SENTENCES; i++)
            texts[i] = text_of(sentences[(i + caller->offset + r) % SENTENCES]);
        size_t n = 1 + r % SENTENCES;
        caller->right &=
            strata_embed(caller->engine->model, texts, n, NULL, vectors, NULL) == STRATA_OK;
        for (size_t i = 0; i < n; i++) {
            size_t which = (i + caller->offset + r) % SENTENCES;
            caller->right &= distance(vectors + i * WIDTH, caller->wanted + which * WIDTH) <= ALIKE;
        }
    }
    return NULL;
}

static void any_thread(void **state)
{
    (void)state;
    struct engine engine = open_tiny(2);
    strata_text texts[SENTENCES];
    float wanted[SENTENCES * WIDTH];
    for (size_t i = 0; i < SENTENCES; i++)
        texts[i] = text_of(sentences[i]);
    embed(&engine, texts, SENTENCES, NULL, wanted, NULL);
    struct caller callers[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        callers[i] = (struct caller){&engine, wanted, i, false};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(callers[i].right);
    }
    engine_close(&engine);
}

/* ---- models ---- */

/* The tiny model with one thing changed. */
struct change {
    const char *without;  /* a key or a tensor, or NULL */
    const char *key;      /* written anew; NULL: none */
    int64_t number;       /* its value; below 0: the boolean true */
    const char *poisoned; /* a tensor whose values become NaN, or NULL */
    bool letters;         /* the tokenizer of write_letters */
    const char *says;     /* part of the message */
    strata_status status;
};

static void write_letters(struct strata__gguf_writer *w);

static void copy_metadata(struct strata__gguf_writer *w, const strata_file *file,
                          const struct change *change)
{
    for (uint32_t i = 0; i < strata__meta_count(file); i++) {
        struct strata__string key = strata__meta_value(file, i).key;
        bool left_out = change->without && strlen(change->without) == key.size &&
                        !memcmp(change->without, key.text, key.size);
        bool replaced = change->key && strlen(change->key) == key.size &&
                        !memcmp(change->key, key.text, key.size);
        bool tokenizer = key.size > 10 && !memcmp(key.text, "tokenizer.", 10);
        if (!left_out && !replaced && !(change->letters && tokenizer))
            assert_int_equal(strata__gguf_write_copy(w, file, i), STRATA_OK);
    }
    if (change->letters)
        write_letters(w);
    if (!change->key)
        return;
    assert_int_equal(change->number < 0
                         ? strata__gguf_write_bool(w, change->key, true)
                         : strata__gguf_write_u32(w, change->key, (uint32_t)change->number),
                     STRATA_OK);
}

static const char *write_changed(const struct change *change)
{
    strata_file *file = gguf_open(TINY, NULL, NULL);
    const char *path = gguf_path("changed.gguf");
    struct strata__gguf_writer *w;
    assert_int_equal(strata__gguf_write_open(&w, path), STRATA_OK);
    copy_metadata(w, file, change);
    const struct strata__tensor *kept[64];
    size_t n = 0;
    for (size_t i = 0; i < strata_file_tensor_count(file); i++) {
        strata_tensor_info info = strata_file_tensor(file, i);
        if (change->without && !strcmp(info.name, change->without))
            continue;
        kept[n++] = strata__file_find(file, info.name);
        assert_int_equal(
            strata__gguf_write_tensor(w, info.name, kept[n - 1]->type, info.n_dims, info.shape),
            STRATA_OK);
    }
    for (size_t i = 0; i < n; i++) {
        float *data = malloc(kept[i]->bytes);
        memcpy(data, kept[i]->data, kept[i]->bytes);
        if (change->poisoned && !strcmp(kept[i]->name, change->poisoned))
            memset(data, 0xff, kept[i]->bytes);
        assert_int_equal(strata__gguf_write_data(w, data, kept[i]->bytes), STRATA_OK);
        free(data);
    }
    assert_int_equal(strata__gguf_write_finish(&w), STRATA_OK);
    strata_file_close(&file);
    return path;
}

static strata_runtime *open_runtime(void)
{
    strata_config config;
    strata_runtime *runtime;
    strata_config_default(&config);
    config.fixed_placement = true; /* no thread beside the test */
    config.threads = 1;
    config.blas = "off";
    config.no_tuning = true;
    assert_int_equal(strata_runtime_open(&runtime, &config), STRATA_OK);
    return runtime;
}

/* Files with one thing changed, and their valid neighbours. */
static const struct change model_changes[] = {
    {.status = STRATA_OK}, /* the valid neighbour */
    {.key = "strata.max_sequence_length", .number = 16, .status = STRATA_OK},
    {.without = "bert.pooling_type", .status = STRATA_OK}, /* the mean */
    {.key = "bert.pooling_type",
     .number = 0,
     .says = "pooling_type: 0",
     .status = STRATA_E_UNSUPPORTED},
    {.key = "bert.pooling_type",
     .number = 4,
     .says = "pooling_type: 4",
     .status = STRATA_E_UNSUPPORTED},
    {.key = "bert.attention.causal",
     .number = -1,
     .says = "causal: true",
     .status = STRATA_E_UNSUPPORTED},
    {.key = "strata.max_sequence_length",
     .number = 129,
     .says = "max_sequence_length: 129",
     .status = STRATA_E_FORMAT},
    {.key = "strata.max_sequence_length",
     .number = 1,
     .says = "max_sequence_length: 1",
     .status = STRATA_E_FORMAT},
    {.key = "bert.attention.head_count",
     .number = 5,
     .says = "found 64 and 5",
     .status = STRATA_E_FORMAT},
    {.key = "bert.context_length",
     .number = 127,
     .says = "position_embd.weight",
     .status = STRATA_E_FORMAT},
    {.without = "bert.attention.layer_norm_epsilon",
     .says = "layer_norm_epsilon",
     .status = STRATA_E_FORMAT},
    {.without = "token_types.weight", .says = "token_types.weight", .status = STRATA_E_FORMAT},
    {.without = "token_embd_norm.bias", .says = "token_embd_norm.bias", .status = STRATA_E_FORMAT},
    {.without = "blk.1.attn_output.bias",
     .says = "blk.1.attn_output.bias",
     .status = STRATA_E_FORMAT},
    {.without = "blk.2.ffn_up.weight", .says = "blk.2.ffn_up.weight", .status = STRATA_E_FORMAT},
};

static void refused_models(void **state)
{
    (void)state;
    strata_runtime *runtime = open_runtime();
    strata_model_options options;
    strata_model_options_default(&options);
    options.no_pack_cache = true;
    for (size_t i = 0; i < sizeof model_changes / sizeof *model_changes; i++) {
        strata_model *model;
        strata_status status =
            strata_model_load(runtime, write_changed(&model_changes[i]), &options, &model);
        if (status != model_changes[i].status)
            fail_msg("change %zu: %d %s", i, (int)status, strata_last_error());
        if (model_changes[i].says)
            gguf_says(strata_last_error(), model_changes[i].says);
        strata_model_unref(&model);
    }
    strata_runtime_close(&runtime);
}

/* A tokenizer of letters, with an end token only, whose character map makes 256 letters of an 'a':
 * written instead of the tiny model's own. */
enum { LETTERS_VOCAB = 114, LETTERS_END = 2, MAPPED = 256, UNITS = 0x300 };

static void write_letters(struct strata__gguf_writer *w)
{
    char names[LETTERS_VOCAB][8];
    struct strata__string tokens[LETTERS_VOCAB];
    float scores[LETTERS_VOCAB];
    int32_t types[LETTERS_VOCAB];
    for (int i = 0; i < LETTERS_VOCAB; i++) {
        snprintf(names[i], sizeof names[i],
                 i < 3    ? "<%d>"
                 : i < 29 ? "%c"
                          : "z%03d",
                 i < 3 || i >= 29 ? i : 'a' + i - 3);
        tokens[i] = (struct strata__string){names[i], strlen(names[i])};
        scores[i] = -1;
        types[i] = i == 0 ? STRATA__TOKEN_UNKNOWN : i < 3 ? STRATA__TOKEN_CONTROL : 1;
    }
    uint32_t map[1 + UNITS + (MAPPED + 4) / 4] = {4 * UNITS}; /* a double-array trie of one 'a' */
    map[1] = 0x100 << 10;
    map[1 + 0x161] = 0x61 | 1 << 8 | (uint32_t)0x300 << 10;
    map[1 + 0x261] = (uint32_t)1 << 31;
    memset(map + 1 + UNITS, 'b', MAPPED);
    struct strata__string model = {"t5", 2};
    strata_status status = strata__gguf_write_string(w, "tokenizer.ggml.model", model);
    status |= strata__gguf_write_strings(w, "tokenizer.ggml.tokens", tokens, LETTERS_VOCAB);
    status |= strata__gguf_write_array(w, "tokenizer.ggml.scores", STRATA__META_F32, scores,
                                       LETTERS_VOCAB);
    status |= strata__gguf_write_array(w, "tokenizer.ggml.token_type", STRATA__META_I32, types,
                                       LETTERS_VOCAB);
    status |= strata__gguf_write_array(w, "tokenizer.ggml.precompiled_charsmap", STRATA__META_U8,
                                       map, 4 + 4 * UNITS + MAPPED + 1);
    status |= strata__gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    status |= strata__gguf_write_u32(w, "tokenizer.ggml.eos_token_id", LETTERS_END);
    status |= strata__gguf_write_bool(w, "tokenizer.ggml.add_bos_token", false);
    status |= strata__gguf_write_bool(w, "tokenizer.ggml.add_eos_token", true);
    status |= strata__gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", false);
    assert_int_equal(status, STRATA_OK);
}

/* Far more tokens than bytes; and what is cut keeps its end token, without one at the beginning. */
static void lengthened_texts(void **state)
{
    (void)state;
    struct engine engine = engine_open(write_changed(&(struct change){.letters = true}),
                                       (struct engine_options){.threads = 1});
    strata_text texts[3] = {text_of("a"), text_of("cd"), text_of("cdefgh")};
    strata_embed_info infos[3];
    strata_embed_options options = defaults();
    float vectors[3 * WIDTH], wanted[3 * WIDTH];
    embed(&engine, texts, 3, &options, vectors, infos);
    assert_true(infos[0].truncated && infos[0].tokens == CONTEXT);
    assert_true(!infos[1].truncated && infos[1].tokens == 3);
    int32_t ids[CONTEXT];
    for (size_t i = 0; i < CONTEXT; i++)
        ids[i] = i + 1 < CONTEXT ? 4 : LETTERS_END; /* b b b ... */
    options.no_normalize = true;
    options.max_tokens = 3;
    embed(&engine, texts, 3, &options, vectors, infos);
    assert_true(infos[2].truncated && infos[2].tokens == 3);
    assert_true(distance(vectors + WIDTH, vectors + (ptrdiff_t)2 * WIDTH) <= 1e-5f);
    options.max_tokens = 0;
    embed(&engine, texts, 1, &options, vectors, infos);
    assert_int_equal(
        strata__encode_sequences(engine.model, &(struct strata__sequence){ids, CONTEXT}, 1, wanted),
        STRATA_OK);
    assert_true(distance(vectors, wanted) == 0);
    engine_close(&engine);
}

/* Which layer gave the first value that is not finite, in floats and in rounded weights. */
static void bad_weights(void **state)
{
    (void)state;
    static const struct change changes[] = {
        {.poisoned = "blk.0.attn_q.weight", .says = "layer 0"},
        {.poisoned = "blk.1.ffn_down.weight", .says = "layer 1"},
        {.poisoned = "blk.2.ffn_up.bias", .says = "last layer"},
        {.poisoned = "token_embd.weight", .says = "token_embd.weight"},
    };
    for (size_t i = 0; i < 2 * sizeof changes / sizeof *changes; i++) {
        const struct change *change = &changes[i / 2];
        struct engine engine = engine_open(
            write_changed(change),
            (struct engine_options){.threads = 2,
                                    .compute = i % 2 ? STRATA_COMPUTE_DYNAMIC : STRATA_COMPUTE_Q8});
        strata_text text = text_of("the cat");
        float vector[WIDTH];
        assert_int_equal(strata_embed(engine.model, &text, 1, NULL, vector, NULL), STRATA_E_FORMAT);
        gguf_says(strata_last_error(), change->says);
        engine_close(&engine);
    }
}

static void wrong_kind(void **state)
{
    (void)state;
    struct engine llama = engine_open_tiny();
    strata_text text = text_of("cat");
    float vector[1024];
    assert_false(strata_model_embeds(llama.model));
    assert_int_equal(strata_embed(llama.model, &text, 1, NULL, vector, NULL), STRATA_E_UNSUPPORTED);
    engine_close(&llama);
    struct engine bert = open_tiny(1);
    strata_session *session;
    assert_true(strata_model_embeds(bert.model));
    assert_int_equal(strata_session_open(bert.model, NULL, &session), STRATA_E_UNSUPPORTED);
    assert_null(session);
    strata_model_options options;
    strata_model *model;
    strata_model_options_default(&options);
    options.no_weights = true;
    assert_int_equal(strata_model_load(bert.runtime, TINY, &options, &model), STRATA_OK);
    assert_int_equal(strata_embed(model, &text, 1, NULL, vector, NULL), STRATA_E_INVALID);
    strata_model_unref(&model);
    engine_close(&bert);
}

/* Rounded weights are kept on disk; vectors from there are the same, bit for bit, and the file is
 * not that of the model's other weights. */
static void kept_on_disk(void **state)
{
    (void)state;
    assert_int_equal(setenv("STRATA_HOME", gguf_path("home"), 1), 0);
    strata_text text = text_of("the old dog");
    float vectors[3][WIDTH];
    strata_runtime *runtime = open_runtime();
    for (size_t i = 0; i < 3; i++) {
        strata_model *model;
        strata_model_options options;
        strata_model_options_default(&options);
        options.compute = STRATA_COMPUTE_DYNAMIC;
        options.no_pack_cache = i == 0;
        assert_int_equal(strata_model_load(runtime, TINY, &options, &model), STRATA_OK);
        assert_int_equal(strata_embed(model, &text, 1, NULL, vectors[i], NULL), STRATA_OK);
        strata_model_unref(&model);
    }
    assert_memory_equal(vectors[0], vectors[1], sizeof vectors[0]);
    assert_memory_equal(vectors[0], vectors[2], sizeof vectors[0]);
    strata_pack_cache *cache;
    assert_int_equal(strata_pack_cache_clear(&cache), STRATA_OK);
    assert_int_equal(cache->n_entries, 1);
    assert_non_null(strstr(cache->entries[0].path, "-q8.packed"));
    assert_int_equal(cache->entries[0].state, STRATA_PACK_CACHE_READY);
    strata_pack_cache_free(&cache);
    strata_runtime_close(&runtime);
    assert_int_equal(rmdir(gguf_path("home/packed")), 0);
    assert_int_equal(rmdir(gguf_path("home")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_texts),     cmocka_unit_test(cut_texts),
        cmocka_unit_test(options_count),  cmocka_unit_test(hostile_texts),
        cmocka_unit_test(any_thread),     cmocka_unit_test(lengthened_texts),
        cmocka_unit_test(refused_models), cmocka_unit_test(bad_weights),
        cmocka_unit_test(wrong_kind),     cmocka_unit_test(kept_on_disk),
    };
    gguf_folder_create();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gguf_folder_remove();
    return failed;
}
