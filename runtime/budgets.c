/* The default budgets, and those of a configuration. */
#include "budgets.h"

#include <string.h>
#include <unistd.h>

#include "utf8.h"

#define MB ((uint64_t)1000000)
#define TOTAL (8000 * MB)
#define AIM (6000 * MB)

#define T1 "tier1_linker"
#define T2 "tier2_expander"
#define T3 "tier3_reasoner"

static const strata_budget defaults[] = {
    {"core", 1500 * MB, STRATA_NO_LIMIT, NULL},
    {"base_indices", 500 * MB, STRATA_NO_LIMIT, NULL},
    {T1, 150 * MB, 0, NULL},
    {T1 "/model_weights(minilm)", 90 * MB, STRATA_NO_LIMIT, NULL},
    {T1 "/embedding_cache(entities)", 40 * MB, STRATA_NO_LIMIT, NULL},
    {T1 "/result_cache(entities)", 20 * MB, STRATA_NO_LIMIT, NULL},
    {T2, 1000 * MB, 800 * MB, NULL},
    {T2 "/model_weights(smollm-360m)", 750 * MB, STRATA_NO_LIMIT, NULL},
    {T2 "/result_cache(semantic)", 200 * MB, STRATA_NO_LIMIT, NULL},
    {T2 "/embedding_cache(predicates)", 50 * MB, STRATA_NO_LIMIT, NULL},
    {T3, 4000 * MB, 3500 * MB, NULL},
    {T3 "/model_weights(smollm-1.7b)", 3500 * MB, STRATA_NO_LIMIT, NULL},
    {T3 "/model_weights(openelm-1.1b)", 2200 * MB, STRATA_NO_LIMIT, T2},
    {T3 "/result_cache(reasoning)", 300 * MB, STRATA_NO_LIMIT, NULL},
    {T3 "/context", 200 * MB, STRATA_NO_LIMIT, NULL},
};

const strata_budget *strata_budgets_default(size_t *count)
{
    *count = sizeof defaults / sizeof *defaults;
    return defaults;
}

uint64_t strata__budget_total(const strata_config *config)
{
    uint64_t wanted = config->memory_limit ? config->memory_limit : TOTAL;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t host = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
    return wanted < host ? wanted : host;
}

uint64_t strata__budget_aim(const strata_config *config)
{
    if (config->memory_aim)
        return config->memory_aim;
    uint64_t total = strata__budget_total(config);
    return total < TOTAL ? total / 4 * 3 : config->memory_limit > TOTAL ? total / 4 * 3 : AIM;
}

/* One name of a path: 1 to 63 bytes, none of them a control character. */
static bool is_name(const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return size > 0 && size < sizeof((struct strata__account *)0)->name;
}

static strata_status bad_path(const char *path)
{
    char shown[128];
    return strata__fail(STRATA_E_INVALID,
                        "component \"%s\": must be a name of 1 to 63 bytes, or two with a '/' "
                        "between them",
                        strata__escape(shown, sizeof shown, path, strlen(path)));
}

strata_status strata__budget_account(struct strata__ledger *ledger, const char *path,
                                     struct strata__account **out)
{
    struct strata__account *at = strata__ledger_total(ledger);
    *out = at;
    if (strcmp(path, at->name) == 0)
        return STRATA_OK;
    const char *rest = path;
    for (int depth = 0; depth == 0 || *rest; depth++) {
        char name[sizeof at->name];
        size_t size = strcspn(rest, "/");
        if (depth == 2 || !is_name(rest, size))
            return bad_path(path);
        memcpy(name, rest, size);
        name[size] = 0;
        STRATA_TRY(strata__ledger_account(at, name, &at));
        rest += size;
        if (*rest == '/' && !*++rest)
            return bad_path(path);
    }
    *out = at;
    return STRATA_OK;
}

static strata_status apply(struct strata__ledger *ledger, const strata_budget *budget)
{
    struct strata__account *account, *lender = NULL;
    if (!budget->component)
        return strata__fail(STRATA_E_INVALID, "a budget has no component");
    STRATA_TRY(strata__budget_account(ledger, budget->component, &account));
    if (budget->lender)
        STRATA_TRY(strata__budget_account(ledger, budget->lender, &lender));
    if (!account->parent)
        return strata__fail(STRATA_E_INVALID,
                            "the budget of the total is the configuration's memory_limit");
    if (lender == account || (lender && (lender == account->parent || !lender->parent)))
        return strata__fail(STRATA_E_INVALID, "component \"%s\" cannot borrow from \"%s\"",
                            budget->component, budget->lender);
    account->limit[STRATA__HOST_MEMORY] = budget->host_bytes;
    account->limit[STRATA__DEVICE_MEMORY] = budget->device_bytes;
    account->lender = lender;
    return STRATA_OK;
}

strata_status strata__budgets_apply(struct strata__ledger *ledger, const strata_config *config)
{
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        STRATA_TRY(apply(ledger, &defaults[i]));
    for (size_t i = 0; i < config->n_budgets; i++)
        STRATA_TRY(apply(ledger, &config->budgets[i]));
    return STRATA_OK;
}
