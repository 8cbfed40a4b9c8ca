/* config.json to metadata, as the architecture's table says (convert_arch.c). */
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "convert.h"

#define NUMBER_MAX (UINT64_C(1) << 31) /* of any size in the configuration */

static strata_status find_arch(struct strata__convert *convert, const struct strata__json_at *root)
{
    struct strata__json_at classes;
    struct strata__string name;
    char expected[256];
    STRATA_TRY(strata__json_array(root, "architectures", &classes, NULL));
    if (json_array_size(classes.value) != 1)
        return strata__json_refuse(root, "architectures", classes.value, STRATA_E_FORMAT,
                                   "one name");
    STRATA_TRY(strata__json_element_string(&classes, 0, &name));
    convert->arch = strata__convert_arch_find(name);
    if (!convert->arch)
        return strata__json_refuse(&classes, "0", json_array_get(classes.value, 0),
                                   STRATA_E_UNSUPPORTED,
                                   strata__convert_arch_names(expected, sizeof expected));
    return STRATA_OK;
}

static strata_status check_rules(const struct strata__convert *convert,
                                 const struct strata__json_at *root)
{
    for (const struct strata__convert_rule *rule = convert->arch->rules; rule->config; rule++) {
        json_t *value = json_object_get(root->value, rule->config);
        struct strata__string text = {json_string_value(value), json_string_length(value)};
        bool holds =
            !value || (rule->text ? json_is_string(value) && strata__string_is(text, rule->text)
                                  : json_is_boolean(value) && json_is_true(value) == rule->truth);
        if (!holds)
            return strata__json_refuse(root, rule->config, value, STRATA_E_UNSUPPORTED,
                                       rule->text    ? rule->text
                                       : rule->truth ? "true"
                                                     : "false");
    }
    return STRATA_OK;
}

/* Refuses positions that are scaled; *where is the object that gives rope_theta. */
static strata_status check_rope(const struct strata__json_at *root, struct strata__json_at *where)
{
    static const char *const objects[] = {"rope_scaling", "rope_parameters"};
    static const char *const types[] = {"type", "rope_type"};
    *where = *root;
    for (size_t i = 0; i < 2; i++) {
        struct strata__json_at object;
        bool found;
        STRATA_TRY(strata__json_object(root, objects[i], &object, &found));
        for (size_t j = 0; found && j < 2; j++) {
            struct strata__string type;
            bool typed;
            STRATA_TRY(strata__json_string(&object, types[j], &type, &typed));
            if (typed && !strata__string_is(type, "default"))
                return strata__json_refuse(&object, types[j],
                                           json_object_get(object.value, types[j]),
                                           STRATA_E_UNSUPPORTED, "\"default\" (no scaling)");
        }
        if (found && json_object_get(object.value, "rope_theta"))
            *where = object;
    }
    return STRATA_OK;
}

static strata_status read_dim(struct strata__convert *convert, const struct strata__json_at *root,
                              const struct strata__convert_key *key)
{
    if (key->list != STRATA__LIST_NONE)
        return strata__convert_list(convert, root, key);
    uint64_t *dim = &convert->dims[key->dim];
    bool follows = key->dim == STRATA__DIM_KV_HEADS || key->dim == STRATA__DIM_HEAD;
    bool optional = key->preset != 0 || (follows && !convert->of_layer);
    bool found;
    *dim = (uint64_t)key->preset;
    return strata__json_u64(root, key->config, 1, NUMBER_MAX, dim, optional ? &found : NULL);
}

static strata_status broken(const struct strata__convert *convert, const char *rule, uint64_t a,
                            uint64_t b)
{
    return strata__fail(STRATA_E_FORMAT, "%s: %s: found %" PRIu64 " and %" PRIu64,
                        convert->config.shown, rule, a, b);
}

/* What config.json calls a number. */
static const char *name_of(const struct strata__convert *convert, enum strata__convert_dim dim)
{
    const struct strata__convert_key *key = convert->arch->keys;
    while (key->dim != dim)
        key++;
    return key->config;
}

/* The numbers that follow from others, and whether they suit each other. */
static strata_status derive(const struct strata__convert *convert, uint64_t *dims)
{
    uint64_t heads = dims[STRATA__DIM_HEADS], hidden = dims[STRATA__DIM_HIDDEN];
    dims[STRATA__DIM_NONE] = 1;
    if (!dims[STRATA__DIM_KV_HEADS])
        dims[STRATA__DIM_KV_HEADS] = heads;
    if (heads % dims[STRATA__DIM_KV_HEADS]) {
        char rule[128];
        snprintf(rule, sizeof rule, "%s must be a multiple of %s",
                 name_of(convert, STRATA__DIM_HEADS), name_of(convert, STRATA__DIM_KV_HEADS));
        return broken(convert, rule, heads, dims[STRATA__DIM_KV_HEADS]);
    }
    if (!dims[STRATA__DIM_HEAD]) {
        if (hidden % heads)
            return broken(convert, "hidden_size must be a multiple of num_attention_heads", hidden,
                          heads);
        dims[STRATA__DIM_HEAD] = hidden / heads;
    }
    if (dims[STRATA__DIM_HEAD] % 2)
        return broken(convert, "a head must have an even size (num_attention_heads beside it)",
                      dims[STRATA__DIM_HEAD], heads);
    dims[STRATA__DIM_Q] = heads * dims[STRATA__DIM_HEAD];
    dims[STRATA__DIM_KV] = dims[STRATA__DIM_KV_HEADS] * dims[STRATA__DIM_HEAD];
    dims[STRATA__DIM_QKV] = dims[STRATA__DIM_Q] + 2 * dims[STRATA__DIM_KV];
    return STRATA_OK;
}

/* Layers have what is the same for all, and their own. */
static strata_status derive_all(struct strata__convert *convert)
{
    if (!convert->of_layer)
        return derive(convert, convert->dims);
    for (uint64_t layer = 0; layer < convert->dims[STRATA__DIM_LAYERS]; layer++) {
        uint64_t *dims = convert->of_layer[layer];
        for (int dim = 0; dim < STRATA__DIM_COUNT; dim++)
            if (!dims[dim])
                dims[dim] = convert->dims[dim];
        STRATA_TRY(derive(convert, dims));
    }
    return STRATA_OK;
}

static const char *full_key(const struct strata__convert *convert, const char *key, char *out,
                            size_t cap)
{
    snprintf(out, cap, "%s.%s", convert->arch->name, key);
    return out;
}

static strata_status write_real(struct strata__convert *convert, const struct strata__json_at *root,
                                const struct strata__convert_key *key)
{
    struct strata__json_at where = *root;
    double value = key->preset;
    char full[128];
    bool found;
    if (key->config && strcmp(key->config, "rope_theta") == 0)
        STRATA_TRY(check_rope(root, &where));
    if (key->config)
        STRATA_TRY(strata__json_real(&where, key->config, &value, &found));
    if (!(value > 0 && value <= FLT_MAX && (float)value > 0))
        return strata__json_refuse(&where, key->config, json_object_get(where.value, key->config),
                                   STRATA_E_FORMAT, "a number above 0 that fits 32 bits");
    return strata__gguf_write_f32(convert->writer, full_key(convert, key->key, full, sizeof full),
                                  (float)value);
}

static strata_status write_keys(struct strata__convert *convert, const struct strata__json_at *root)
{
    char full[128];
    for (const struct strata__convert_key *key = convert->arch->keys; key->config || key->key;
         key++) {
        if (key->dim == STRATA__DIM_NONE)
            STRATA_TRY(write_real(convert, root, key));
        else if (key->list != STRATA__LIST_NONE)
            STRATA_TRY(strata__convert_write_list(
                convert, full_key(convert, key->key, full, sizeof full), key->dim));
        else if (key->key)
            STRATA_TRY(strata__gguf_write_u32(convert->writer,
                                              full_key(convert, key->key, full, sizeof full),
                                              (uint32_t)convert->dims[key->dim]));
    }
    if (convert->arch->sentences) {
        STRATA_TRY(strata__gguf_write_bool(
            convert->writer, full_key(convert, "attention.causal", full, sizeof full), false));
        STRATA_TRY(strata__gguf_write_u32(convert->writer, "tokenizer.ggml.token_type_count",
                                          (uint32_t)convert->dims[STRATA__DIM_SEGMENTS]));
    }
    return STRATA_OK;
}

strata_status strata__convert_config(struct strata__convert *convert)
{
    struct strata__json_at root;
    bool found;
    STRATA_TRY(strata__json_root(&convert->config, &root));
    STRATA_TRY(find_arch(convert, &root));
    STRATA_TRY(check_rules(convert, &root));
    for (const struct strata__convert_key *key = convert->arch->keys; key->config || key->key;
         key++)
        if (key->config && key->dim != STRATA__DIM_NONE)
            STRATA_TRY(read_dim(convert, &root, key));
    STRATA_TRY(derive_all(convert));
    STRATA_TRY(strata__json_bool(&root, "tie_word_embeddings", &convert->tied, &found));
    struct strata__string name = {convert->arch->name, strlen(convert->arch->name)};
    STRATA_TRY(strata__gguf_write_string(convert->writer, "general.architecture", name));
    return write_keys(convert, &root);
}
