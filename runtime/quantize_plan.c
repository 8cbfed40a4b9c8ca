/* Which type each tensor of a model gets. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "memory.h"
#include "quantize.h"
#include "quantize_blocks.h"

/* The types that can be asked for; what is taken instead where the rows are no multiple of the
 * blocks; the number of general.file_type. */
static const struct target {
    enum strata_type type, instead;
    uint32_t file_type;
} targets[] = {
    {STRATA_TYPE_F32, STRATA_TYPE_F32, 0},      {STRATA_TYPE_F16, STRATA_TYPE_F16, 1},
    {STRATA_TYPE_BF16, STRATA_TYPE_BF16, 32},   {STRATA_TYPE_Q8_0, STRATA_TYPE_F16, 7},
    {STRATA_TYPE_Q4_0, STRATA_TYPE_F16, 2},     {STRATA_TYPE_Q4_1, STRATA_TYPE_F16, 3},
    {STRATA_TYPE_Q5_0, STRATA_TYPE_F16, 8},     {STRATA_TYPE_Q5_1, STRATA_TYPE_F16, 9},
    {STRATA_TYPE_IQ4_NL, STRATA_TYPE_F16, 25},  {STRATA_TYPE_IQ4_XS, STRATA_TYPE_IQ4_NL, 30},
    {STRATA_TYPE_Q2_K, STRATA_TYPE_IQ4_NL, 10}, {STRATA_TYPE_Q3_K, STRATA_TYPE_IQ4_NL, 11},
    {STRATA_TYPE_Q4_K, STRATA_TYPE_Q5_0, 14},   {STRATA_TYPE_Q5_K, STRATA_TYPE_Q5_1, 16},
    {STRATA_TYPE_Q6_K, STRATA_TYPE_Q8_0, 18},
};
#define N_TARGETS (sizeof targets / sizeof *targets)

/* Matrices that stay as they are: small, and read with more care than they cost. */
static const char *const kept[] = {"*_norm.*", "position_embd*", "token_types*", "*rope_freqs*",
                                   "*ffn_gate_inp*"};

static const struct target *target_of(enum strata_type type)
{
    for (size_t i = 0; i < N_TARGETS; i++)
        if (targets[i].type == type)
            return &targets[i];
    return NULL;
}

uint32_t strata__quantize_file_type(enum strata_type type)
{
    return target_of(type)->file_type;
}

static const char *type_name(enum strata_type type)
{
    return strata_block_format(type)->name;
}

static strata_status parse_type(const char *what, const char *text, enum strata_type *out)
{
    char known[256] = "", shown[64];
    for (size_t i = 0, used = 0; i < N_TARGETS; i++) {
        const char *name = type_name(targets[i].type);
        if (text && !strcasecmp(text, name)) {
            *out = targets[i].type;
            return STRATA_OK;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", name);
    }
    return strata__fail(STRATA_E_INVALID, "%s \"%s\": must be one of %s", what,
                        text ? strata__escape(shown, sizeof shown, text, strlen(text)) : "", known);
}

static bool is_integer(enum strata_type type)
{
    return type == STRATA_TYPE_I8 || type == STRATA_TYPE_I16 || type == STRATA_TYPE_I32 ||
           type == STRATA_TYPE_I64;
}

bool strata__quantize_is_float(enum strata_type type)
{
    return type == STRATA_TYPE_F32 || type == STRATA_TYPE_F16 || type == STRATA_TYPE_BF16;
}

/* Bits an element, times 256. */
static unsigned bits_of(enum strata_type type)
{
    const struct strata_block_format *format = strata_block_format(type);
    return format->block_bytes * 8 * 256 / format->block_elems;
}

/* True for the matrix that makes the logits; models of sentence vectors have none. */
static bool is_head(const struct strata__quantize_plan *plan, const char *name)
{
    if (!strcmp(name, "output.weight"))
        return true;
    return strcmp(strata_file_info_get(plan->file).architecture, "bert") &&
           !strcmp(name, "token_embd.weight") && !strata__file_find(plan->file, "output.weight");
}

/* The type that the rules ask for; the present one where it is to stay. */
static strata_status wanted_type(const struct strata__quantize_plan *plan,
                                 const struct strata__tensor *tensor, enum strata_type *out)
{
    *out = tensor->type;
    if (tensor->rows == 1 || is_integer(tensor->type))
        return STRATA_OK;
    for (size_t i = 0; i < plan->options->n_rules; i++)
        if (fnmatch(plan->options->rules[i].pattern, tensor->name, 0) == 0)
            return parse_type("type of a rule", plan->options->rules[i].type, out);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (fnmatch(kept[i], tensor->name, 0) == 0)
            return STRATA_OK;
    *out = plan->target;
    if (!plan->options->pure && is_head(plan, tensor->name) &&
        bits_of(plan->target) < bits_of(STRATA_TYPE_Q6_K))
        *out = STRATA_TYPE_Q6_K;
    return STRATA_OK;
}

/* The same, with the tensor's rows a multiple of its blocks. */
static strata_status choose_type(struct strata__quantize_plan *plan,
                                 const struct strata__tensor *tensor, enum strata_type *out)
{
    enum strata_type wanted, type;
    STRATA_TRY(wanted_type(plan, tensor, &wanted));
    *out = type = wanted;
    if (type == tensor->type)
        return STRATA_OK;
    while (tensor->shape[0] % strata_block_format(type)->block_elems)
        type = target_of(type)->instead;
    if (type != wanted) {
        plan->fallen++;
        strata__log(plan->runtime->log, plan->runtime->log_user, STRATA_LOG_INFO,
                    "%s: rows of %" PRIu64 " elements are no multiple of the blocks of %s: %s",
                    tensor->name, tensor->shape[0], type_name(wanted), type_name(type));
    }
    *out = type;
    if (type == tensor->type)
        return STRATA_OK;
    if (!plan->runtime->kernels.dequantize[tensor->type])
        return strata__fail(STRATA_E_UNSUPPORTED, "%s: tensor \"%s\": strata cannot read %s",
                            strata__file_path(plan->file), tensor->name, type_name(tensor->type));
    return STRATA_OK;
}

/* Refuses, or warns of, input that lost something before. */
static strata_status check_input(const struct strata__quantize_plan *plan)
{
    for (uint32_t i = 0; i < strata_file_tensor_count(plan->file); i++) {
        const struct strata__tensor *t = strata__file_tensor(plan->file, i);
        if (strata__quantize_is_float(t->type) || is_integer(t->type) || plan->types[i] == t->type)
            continue;
        if (plan->options->float_only)
            return strata__fail(STRATA_E_UNSUPPORTED, "%s: tensor \"%s\" is %s already",
                                strata__file_path(plan->file), t->name, type_name(t->type));
        strata__log(plan->runtime->log, plan->runtime->log_user, STRATA_LOG_WARN,
                    "%s is quantised already (\"%s\" is %s): the result is worse than one made "
                    "of the original",
                    strata__file_path(plan->file), t->name, type_name(t->type));
        break;
    }
    return STRATA_OK;
}

/* A rule that no tensor's name matches is a mistake in writing it. */
static strata_status check_rules(const struct strata__quantize_plan *plan)
{
    char quote[128];
    uint32_t count = (uint32_t)strata_file_tensor_count(plan->file);
    for (size_t r = 0; r < plan->options->n_rules; r++) {
        const char *pattern = plan->options->rules[r].pattern;
        uint32_t i = 0;
        while (i < count && fnmatch(pattern, strata__file_tensor(plan->file, i)->name, 0) != 0)
            i++;
        if (i == count)
            return strata__fail(STRATA_E_INVALID,
                                "%s: the rule for \"%s\" matches no tensor (strata inspect lists "
                                "them)",
                                strata__file_path(plan->file),
                                strata__escape(quote, sizeof quote, pattern, strlen(pattern)));
    }
    return STRATA_OK;
}

strata_status strata__quantize_plan_open(struct strata__quantize_plan *plan,
                                         const strata_file *file, const strata_runtime *runtime,
                                         const strata_quantize_options *options)
{
    *plan = (struct strata__quantize_plan){.file = file, .runtime = runtime, .options = options};
    enum strata_type unused;
    STRATA_TRY(parse_type("type", options->type, &plan->target));
    for (size_t i = 0; i < options->n_rules; i++)
        STRATA_TRY(parse_type("type of a rule", options->rules[i].type, &unused));
    STRATA_TRY(check_rules(plan));
    uint32_t count = (uint32_t)strata_file_tensor_count(file);
    STRATA_TRY(strata__calloc(&plan->types, count, sizeof *plan->types, "types of tensors"));
    for (uint32_t i = 0; i < count; i++)
        STRATA_TRY(choose_type(plan, strata__file_tensor(file, i), &plan->types[i]));
    STRATA_TRY(check_input(plan));
    if (plan->fallen)
        strata__log(runtime->log, runtime->log_user, STRATA_LOG_WARN,
                    "%" PRIu64 " of %u tensors have rows that are no multiple of the blocks of the "
                    "type asked for, and get one with smaller blocks",
                    plan->fallen, count);
    return STRATA_OK;
}

void strata__quantize_plan_close(struct strata__quantize_plan *plan)
{
    strata__free(plan->types);
    plan->types = NULL;
}
