/* Shapes of real models and the tensors they have (model_parts.h). */
#include "model_parts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum architecture { LLAMA, OPENELM, BERT };

static const char *const architectures[] = {"llama", "openelm", "bert"};

/* The same in all layers, or one value for each. */
struct counts {
    uint32_t all;
    const uint32_t *each;
};
#define ALL(n)  \
    {           \
        n, NULL \
    }

struct model_shape {
    const char *name;
    enum architecture architecture;
    uint32_t layers, width;
    struct counts heads, kv_heads, ffn;
    uint32_t head_dim, vocab, context;
    float rope_base, norm_epsilon;
};

static const uint32_t openelm_heads[] = {16, 16, 16, 20, 20, 20, 20, 20, 20, 20, 24, 24, 24, 24,
                                         24, 24, 24, 24, 28, 28, 28, 28, 28, 28, 32, 32, 32, 32};
static const uint32_t openelm_kv_heads[] = {4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6,
                                            6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 8, 8, 8, 8};
/* From half of 2048 to four times that: 28 factors with two digits, times 2048, to multiples of
 * 256. */
static const uint32_t openelm_ffn[] = {1024, 1280, 1536, 1792, 2048, 2304, 2560, 2816, 3072, 3328,
                                       3584, 3840, 4096, 4608, 4608, 5120, 5376, 5632, 5888, 6144,
                                       6400, 6656, 6912, 7168, 7424, 7680, 7936, 8192};

/* clang-format off */
static const struct model_shape shapes[] = {
    {"smollm2-135m", LLAMA, 30, 576, ALL(9), ALL(3), ALL(1536), 64, 49152, 8192, 1e5f, 1e-5f},
    {"smollm2-360m", LLAMA, 32, 960, ALL(15), ALL(5), ALL(2560), 64, 49152, 8192, 1e5f, 1e-5f},
    {"smollm2-1.7b", LLAMA, 24, 2048, ALL(32), ALL(32), ALL(8192), 64, 49152, 8192, 1.3e5f, 1e-5f},
    {"llama-1b", LLAMA, 16, 2048, ALL(32), ALL(8), ALL(8192), 64, 128256, 8192, 5e5f, 1e-5f},
    /* The real one has an output head of its own; here all use the embedding. */
    {"llama-8b", LLAMA, 32, 4096, ALL(32), ALL(8), ALL(14336), 128, 128256, 8192, 5e5f, 1e-5f},
    {"openelm-1.1b", OPENELM, 28, 2048, {0, openelm_heads}, {0, openelm_kv_heads},
     {0, openelm_ffn}, 64, 32000, 2048, 1e4f, 1e-6f},
    {"minilm-l6", BERT, 6, 384, ALL(12), ALL(12), ALL(1536), 32, 30522, 512, 0, 1e-12f},
    /* Small ones, for tests. */
    {"tiny", LLAMA, 2, 256, ALL(4), ALL(2), ALL(512), 64, 330, 128, 1e4f, 1e-5f},
    {"tiny-narrow", LLAMA, 1, 96, ALL(3), ALL(3), ALL(256), 32, 320, 128, 1e4f, 1e-5f},
    {"tiny-openelm", OPENELM, 4, 64, {0, openelm_heads}, {0, openelm_kv_heads},
     {0, openelm_ffn}, 16, 64, 128, 1e4f, 1e-6f},
    {"tiny-bert", BERT, 2, 64, ALL(4), ALL(4), ALL(128), 16, 120, 64, 0, 1e-12f},
};
/* clang-format on */
#define SHAPES (sizeof shapes / sizeof *shapes)

static uint32_t at_layer(struct counts counts, uint32_t layer)
{
    return counts.each ? counts.each[layer] : counts.all;
}

const struct model_shape *model_shape_row(size_t i)
{
    return i < SHAPES ? &shapes[i] : NULL;
}

const struct model_shape *model_shape_named(const char *name)
{
    for (size_t i = 0; i < SHAPES; i++)
        if (!strcmp(shapes[i].name, name))
            return &shapes[i];
    return NULL;
}

const char *model_shape_name(const struct model_shape *shape)
{
    return shape->name;
}

uint32_t model_shape_vocab(const struct model_shape *shape)
{
    return shape->vocab;
}

/* ---- Keys ---- */

#define POOLING_MEAN 1 /* of an encoder's vectors */

static void add_key(struct header *h, const struct model_shape *s, const char *name, uint32_t kind)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", s ? architectures[s->architecture] : "general", name);
    header_text(h, key);
    header_u32(h, kind);
    h->keys++;
}

static void add_u32(struct header *h, const struct model_shape *s, const char *name, uint32_t value)
{
    add_key(h, s, name, GGUF_U32);
    header_u32(h, value);
}

static void add_f32(struct header *h, const struct model_shape *s, const char *name, float value)
{
    add_key(h, s, name, GGUF_F32);
    header_f32(h, value);
}

static void add_counts(struct header *h, const struct model_shape *s, const char *name,
                       struct counts counts)
{
    if (!counts.each) {
        add_u32(h, s, name, counts.all);
        return;
    }
    add_key(h, s, name, GGUF_ARRAY);
    header_u32(h, GGUF_I32);
    header_u64(h, s->layers);
    for (uint32_t layer = 0; layer < s->layers; layer++)
        header_u32(h, counts.each[layer]);
}

void header_shape(struct header *h, const struct model_shape *s, const char *type)
{
    char name[96];
    snprintf(name, sizeof name, "%s %s, random weights", s->name, type);
    add_key(h, NULL, "architecture", GGUF_STRING);
    header_text(h, architectures[s->architecture]);
    add_key(h, NULL, "name", GGUF_STRING);
    header_text(h, name);
    add_u32(h, s, "block_count", s->layers);
    add_u32(h, s, "context_length", s->context);
    add_u32(h, s, "embedding_length", s->width);
    add_counts(h, s, "feed_forward_length", s->ffn);
    add_counts(h, s, "attention.head_count", s->heads);
    if (s->architecture == BERT) {
        add_f32(h, s, "attention.layer_norm_epsilon", s->norm_epsilon);
        add_u32(h, s, "pooling_type", POOLING_MEAN);
    } else {
        add_counts(h, s, "attention.head_count_kv", s->kv_heads);
        add_u32(h, s, "attention.key_length", s->head_dim);
        add_u32(h, s, "attention.value_length", s->head_dim);
        add_f32(h, s, "attention.layer_norm_rms_epsilon", s->norm_epsilon);
        add_u32(h, s, "rope.dimension_count", s->head_dim);
        add_f32(h, s, "rope.freq_base", s->rope_base);
    }
    add_u32(h, s, "vocab_size", s->vocab);
}

/* ---- Tensors ---- */

#define MOST_OF_LAYER 16 /* tensors */
#define MOST_OF_MODEL 8  /* beside those of layers */

struct list {
    struct model_tensor *tensors;
    size_t n, room;
};

/* The name is blk.LAYER.BASE.ENDING, or BASE.ENDING for a layer below 0. */
static struct model_tensor *add(struct list *list, int layer, const char *base, const char *ending)
{
    assert(list->n < list->room);
    struct model_tensor *t = &list->tensors[list->n++];
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s.%s", base, ending);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s.%s", layer, base, ending);
    return t;
}

static void add_vector(struct list *list, int layer, const char *base, const char *ending,
                       uint64_t length)
{
    struct model_tensor *t = add(list, layer, base, ending);
    t->columns = length;
    t->type = STRATA_TYPE_F32;
}

/* Rows that are no whole number of blocks are Q8_0. */
static void add_matrix(struct list *list, int layer, const char *base, uint64_t columns,
                       uint64_t rows, enum strata_type type)
{
    struct model_tensor *t = add(list, layer, base, "weight");
    t->columns = columns;
    t->rows = rows;
    t->type = columns % strata_block_format(type)->block_elems ? STRATA_TYPE_Q8_0 : type;
}

struct matrix {
    const char *base;
    uint32_t columns, rows;
};

/* Returns how many. */
static size_t layer_matrices(const struct model_shape *s, uint32_t layer, struct matrix *out)
{
    uint32_t heads = at_layer(s->heads, layer) * s->head_dim, ffn = at_layer(s->ffn, layer);
    uint32_t kv = at_layer(s->kv_heads, layer) * s->head_dim, width = s->width;
    size_t n = 0;
    if (s->architecture == OPENELM) {
        out[n++] = (struct matrix){"attn_qkv", width, heads + 2 * kv};
    } else {
        out[n++] = (struct matrix){"attn_q", width, heads};
        out[n++] = (struct matrix){"attn_k", width, kv};
        out[n++] = (struct matrix){"attn_v", width, kv};
    }
    out[n++] = (struct matrix){"attn_output", heads, width};
    if (s->architecture != BERT)
        out[n++] = (struct matrix){"ffn_gate", width, ffn};
    out[n++] = (struct matrix){"ffn_up", width, ffn};
    out[n++] = (struct matrix){"ffn_down", ffn, width};
    return n;
}

static void add_layer_norms(struct list *list, const struct model_shape *s, int layer,
                            const char *ending)
{
    bool encoder = s->architecture == BERT;
    add_vector(list, layer, encoder ? "attn_output_norm" : "attn_norm", ending, s->width);
    add_vector(list, layer, encoder ? "layer_output_norm" : "ffn_norm", ending, s->width);
    if (s->architecture == OPENELM) {
        add_vector(list, layer, "attn_q_norm", ending, s->head_dim);
        add_vector(list, layer, "attn_k_norm", ending, s->head_dim);
    }
}

/* An encoder's: one for each norm and each matrix of the layers. */
static void add_biases(struct list *list, const struct model_shape *s)
{
    struct matrix matrices[MOST_OF_LAYER];
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        add_layer_norms(list, s, (int)layer, "bias");
        size_t n = layer_matrices(s, layer, matrices);
        for (size_t i = 0; i < n; i++)
            add_vector(list, (int)layer, matrices[i].base, "bias", matrices[i].rows);
    }
    add_vector(list, -1, "token_embd_norm", "bias", s->width);
}

/* The embedding is also the output head, so it gets more bits than the smaller types have. */
static enum strata_type embedding_type(enum strata_type type)
{
    switch (strata_block_format(type)->block_elems) {
    case 1:
        return type;
    case 32:
        return STRATA_TYPE_Q8_0;
    default:
        return STRATA_TYPE_Q6_K;
    }
}

struct model_tensor *model_tensors(const struct model_shape *s, const struct weight_type *type,
                                   size_t *n)
{
    struct list list = {.room = (size_t)s->layers * MOST_OF_LAYER + MOST_OF_MODEL};
    struct matrix matrices[MOST_OF_LAYER];
    if (!(list.tensors = calloc(list.room, sizeof *list.tensors)))
        return NULL;
    add_matrix(&list, -1, "token_embd", s->width, s->vocab, embedding_type(type->type));
    if (s->architecture == BERT) {
        add_matrix(&list, -1, "position_embd", s->width, s->context, STRATA_TYPE_F32);
        add_matrix(&list, -1, "token_types", s->width, 2, STRATA_TYPE_F32);
    }
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        size_t found = layer_matrices(s, layer, matrices);
        for (size_t i = 0; i < found; i++)
            add_matrix(&list, (int)layer, matrices[i].base, matrices[i].columns, matrices[i].rows,
                       type->type);
    }
    for (uint32_t layer = 0; layer < s->layers; layer++)
        add_layer_norms(&list, s, (int)layer, "weight");
    add_vector(&list, -1, s->architecture == BERT ? "token_embd_norm" : "output_norm", "weight",
               s->width);
    if (s->architecture == BERT)
        add_biases(&list, s);
    *n = list.n;
    return list.tensors;
}

uint64_t model_tensor_bytes(const struct model_tensor *t)
{
    const struct strata_block_format *format = strata_block_format(t->type);
    return t->columns * (t->rows ? t->rows : 1) / format->block_elems * format->block_bytes;
}
