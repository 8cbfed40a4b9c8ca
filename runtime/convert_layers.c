/* Numbers of config.json that each layer has of its own: lists of one for each. */
#include <stdio.h>

#include "convert.h"
#include "memory.h"

#define COUNT_MAX ((uint64_t)INT32_MAX) /* they become arrays of INT32 */

static strata_status refuse(const struct strata__json_at *list, size_t i, const char *expected)
{
    char name[24];
    snprintf(name, sizeof name, "%zu", i);
    return strata__json_refuse(list, name, json_array_get(list->value, i), STRATA_E_FORMAT,
                               expected);
}

static strata_status read_count(const struct strata__json_at *list, size_t i, uint64_t *out)
{
    STRATA_TRY(strata__json_element_u64(list, i, COUNT_MAX, out));
    return *out ? STRATA_OK : refuse(list, i, "1 or more");
}

/* HIDDEN times the factor, to the nearest multiple of DIVISOR: one at least, and one more where
 * that takes away more than a tenth (Howard et al. 2017, as OpenELM rounds). */
static strata_status read_width(const struct strata__convert *convert,
                                const struct strata__json_at *list, size_t i, uint64_t *out)
{
    static const char expected[] = "a number above 0, model_dim times which is below 2^31";
    const uint64_t divisor = convert->dims[STRATA__DIM_DIVISOR];
    double factor = json_number_value(json_array_get(list->value, i)); /* 0: not a number */
    double exact = factor * (double)convert->dims[STRATA__DIM_HIDDEN];
    if (!(exact > 0 && exact <= (double)COUNT_MAX))
        return refuse(list, i, expected);
    *out = (uint64_t)(exact + (double)divisor / 2) / divisor * divisor;
    if (*out == 0)
        *out = divisor;
    if ((double)*out < 0.9 * exact)
        *out += divisor;
    return *out <= COUNT_MAX ? STRATA_OK : refuse(list, i, expected);
}

strata_status strata__convert_list(struct strata__convert *convert,
                                   const struct strata__json_at *root,
                                   const struct strata__convert_key *key)
{
    struct strata__json_at list;
    const size_t layers = (size_t)convert->dims[STRATA__DIM_LAYERS];
    STRATA_TRY(strata__json_array(root, key->config, &list, NULL));
    if (json_array_size(list.value) != layers)
        return strata__fail(
            STRATA_E_FORMAT, "%s: %s: a list of %zu, expected %zu, one for each layer",
            convert->config.shown, key->config, json_array_size(list.value), layers);
    if (!convert->of_layer)
        STRATA_TRY(strata__calloc(&convert->of_layer, layers, sizeof *convert->of_layer,
                                  "numbers of layers"));
    for (size_t i = 0; i < layers; i++) {
        uint64_t *out = &convert->of_layer[i][key->dim];
        STRATA_TRY(key->list == STRATA__LIST_COUNTS ? read_count(&list, i, out)
                                                    : read_width(convert, &list, i, out));
    }
    return STRATA_OK;
}

strata_status strata__convert_write_list(struct strata__convert *convert, const char *key,
                                         enum strata__convert_dim dim)
{
    const size_t layers = (size_t)convert->dims[STRATA__DIM_LAYERS];
    int32_t *values;
    STRATA_TRY(strata__calloc(&values, layers, sizeof *values, "numbers of layers"));
    for (size_t i = 0; i < layers; i++)
        values[i] = (int32_t)convert->of_layer[i][dim];
    strata_status status =
        strata__gguf_write_array(convert->writer, key, STRATA__META_I32, values, layers);
    strata__free(values);
    return status;
}

const uint64_t *strata__convert_dims(const struct strata__convert *convert, unsigned layer)
{
    return convert->of_layer ? convert->of_layer[layer] : convert->dims;
}
