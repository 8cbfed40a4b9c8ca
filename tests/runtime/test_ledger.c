/* Accounts, limits, lending and entries, without any model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "budgets.h"
#include "faults.h"
#include "memory.h"

#define MB 1000000ull
#define HOST STRATA__HOST_MEMORY
#define DEVICE STRATA__DEVICE_MEMORY

/* What the collect function is to give back, from one account, and what it was asked for. */
static struct {
    struct strata__account *from;
    uint64_t left, asked;
    const struct strata__account *top;
    enum strata__collect how;
    unsigned calls;
} source;

static uint64_t collect(void *user, const struct strata__account *top, uint64_t bytes,
                        enum strata__collect how)
{
    assert_ptr_equal(user, &source);
    source.calls++;
    source.asked = bytes;
    source.top = top;
    source.how = how;
    uint64_t freed = bytes < source.left ? bytes : source.left;
    source.left -= freed;
    if (freed)
        strata__release(source.from, HOST, freed);
    return freed;
}

static struct strata__ledger *open_default(void)
{
    struct strata__ledger *ledger;
    strata_config config;
    strata_config_default(&config);
    memset(&source, 0, sizeof source);
    assert_int_equal(strata__ledger_open(&ledger, 8000 * MB, collect, &source), STRATA_OK);
    assert_int_equal(strata__budgets_apply(ledger, &config), STRATA_OK);
    return ledger;
}

static struct strata__account *find(struct strata__ledger *ledger, const char *path)
{
    struct strata__account *account = strata__ledger_find(ledger, path);
    assert_non_null(account);
    return account;
}

static strata_status take(struct strata__account *account, uint64_t bytes)
{
    return strata__charge(account, HOST, bytes, STRATA__COLLECT_NOTHING, "test");
}

static void refused(struct strata__account *account, uint64_t bytes, uint64_t room)
{
    uint64_t requested, available;
    assert_int_equal(take(account, bytes), STRATA_E_BUDGET);
    strata_last_budget(&requested, &available);
    assert_int_equal(requested, bytes);
    assert_int_equal(available, room);
    assert_int_equal(strata__account_available(account, HOST), room);
}

/* The numbers of the table that people rely on, and that they are limits only. */
static void default_budgets(void **state)
{
    static const struct {
        const char *path;
        uint64_t host, device;
    } rows[] = {
        {"core", 1500, UINT64_MAX},
        {"base_indices", 500, UINT64_MAX},
        {"tier1_linker", 150, 0},
        {"tier1_linker/model_weights(minilm)", 90, UINT64_MAX},
        {"tier1_linker/embedding_cache(entities)", 40, UINT64_MAX},
        {"tier1_linker/result_cache(entities)", 20, UINT64_MAX},
        {"tier2_expander", 1000, 800},
        {"tier2_expander/model_weights(smollm-360m)", 750, UINT64_MAX},
        {"tier2_expander/result_cache(semantic)", 200, UINT64_MAX},
        {"tier2_expander/embedding_cache(predicates)", 50, UINT64_MAX},
        {"tier3_reasoner", 4000, 3500},
        {"tier3_reasoner/model_weights(smollm-1.7b)", 3500, UINT64_MAX},
        {"tier3_reasoner/model_weights(openelm-1.1b)", 2200, UINT64_MAX},
        {"tier3_reasoner/result_cache(reasoning)", 300, UINT64_MAX},
        {"tier3_reasoner/context", 200, UINT64_MAX},
    };
    (void)state;
    struct strata__ledger *ledger = open_default();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct strata__account *account = find(ledger, rows[i].path);
        char path[160];
        assert_string_equal(strata__account_path(account, path, sizeof path), rows[i].path);
        assert_int_equal(account->limit[HOST], rows[i].host * MB);
        if (rows[i].device == UINT64_MAX)
            assert_int_equal(account->limit[DEVICE], UINT64_MAX);
        else
            assert_int_equal(account->limit[DEVICE], rows[i].device * MB);
    }
    assert_int_equal(find(ledger, "total")->limit[HOST], 8000 * MB);
    assert_null(strata__ledger_find(ledger, "tier1_linker/context"));
    assert_null(strata__ledger_find(ledger, "core/core"));
    strata_config config;
    strata_config_default(&config);
    assert_int_equal(strata__budget_aim(&config), 6000 * MB);
    config.memory_limit = 400 * MB;
    assert_int_equal(strata__budget_total(&config), 400 * MB);
    assert_int_equal(strata__budget_aim(&config), 300 * MB);
    strata__ledger_close(&ledger);
}

/* Bytes count for every account above; the first that is full refuses, at its exact byte. */
static void limits_hold(void **state)
{
    (void)state;
    struct strata__ledger *ledger = open_default();
    struct strata__account *t1 = find(ledger, "tier1_linker"), *total = find(ledger, "total");
    struct strata__account *model = find(ledger, "tier1_linker/model_weights(minilm)");
    struct strata__account *cache = find(ledger, "tier1_linker/embedding_cache(entities)");
    assert_int_equal(take(model, 90 * MB), STRATA_OK);
    refused(model, 1, 0);
    assert_non_null(strstr(strata_last_error(), "tier1_linker/model_weights(minilm) is 90.0 MB"));
    assert_int_equal(take(t1, 30 * MB), STRATA_OK);
    refused(cache, 30 * MB + 1, 30 * MB); /* its own limit is 40 */
    assert_non_null(strstr(strata_last_error(), "budget of tier1_linker is 150.0 MB"));
    assert_int_equal(take(cache, 30 * MB), STRATA_OK);
    assert_int_equal(total->used[HOST], 150 * MB);
    strata__release(model, HOST, 90 * MB);
    assert_int_equal(total->used[HOST], 60 * MB);
    assert_int_equal(t1->peak[HOST], 150 * MB);
    /* Devices have budgets of their own. */
    assert_int_equal(strata__charge(model, DEVICE, 1, STRATA__COLLECT_ALL, "test"),
                     STRATA_E_BUDGET);
    assert_non_null(strstr(strata_last_error(), "0.0 MB of devices"));
    assert_int_equal(source.calls, 0); /* what the host gives back is no help there */
    struct strata__account *t2 = find(ledger, "tier2_expander/model_weights(smollm-360m)");
    assert_int_equal(strata__charge(t2, DEVICE, 800 * MB, STRATA__COLLECT_NOTHING, "test"),
                     STRATA_OK);
    assert_int_equal(strata__charge(t2, DEVICE, 1, STRATA__COLLECT_NOTHING, "test"),
                     STRATA_E_BUDGET);
    assert_int_equal(total->used[DEVICE], 800 * MB);
    assert_int_equal(total->used[HOST], 60 * MB);
    /* The total, with components that have none. */
    struct strata__account *own;
    assert_int_equal(strata__ledger_account(total, "model_weights(any)", &own), STRATA_OK);
    assert_int_equal(take(own, 7940 * MB), STRATA_OK);
    refused(own, 1, 0);
    refused(find(ledger, "core"), 1, 0);
    strata__ledger_close(&ledger);
}

/* The 1.7B and OpenELM together want 5,700 MB of tier 3's 4,000: what tier 2 leaves idle serves,
 * whichever of them comes first, and comes back when tier 2 wants it. */
static void lending(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct strata__ledger *ledger = open_default();
        struct strata__account *t2 = find(ledger, "tier2_expander");
        struct strata__account *t2_model =
            find(ledger, "tier2_expander/model_weights(smollm-360m)");
        struct strata__account *t3 = find(ledger, "tier3_reasoner");
        struct strata__account *large = find(ledger, "tier3_reasoner/model_weights(smollm-1.7b)");
        struct strata__account *elm = find(ledger, "tier3_reasoner/model_weights(openelm-1.1b)");
        if (order == 0) { /* 500 of tier 3, and all of tier 2's 1,000 */
            assert_int_equal(take(large, 3500 * MB), STRATA_OK);
            refused(elm, 1500 * MB + 1, 1500 * MB);
            assert_int_equal(take(elm, 1500 * MB), STRATA_OK);
        } else { /* OpenELM's bytes are those that are lent: 1,800 of tier 3 and 1,000 are left */
            assert_int_equal(take(elm, 2200 * MB), STRATA_OK);
            refused(large, 2800 * MB + 1, 2800 * MB);
            assert_int_equal(take(large, 2800 * MB), STRATA_OK);
        }
        assert_int_equal(t3->used[HOST], 5000 * MB);
        assert_int_equal(strata__account_excess(elm, HOST), 0);
        refused(find(ledger, "tier3_reasoner/context"), 1, 0);
        refused(t2_model, 1, 0); /* lent */
        /* Tier 2 gets it back from OpenELM, even from one that only looks at what is idle. */
        source.from = elm;
        source.left = 600 * MB;
        assert_int_equal(strata__charge(t2_model, HOST, 600 * MB, STRATA__COLLECT_IDLE, "test"),
                         STRATA_OK);
        assert_ptr_equal(source.top, t2);
        assert_int_equal(source.how, STRATA__COLLECT_ALL);
        assert_int_equal(source.asked, 600 * MB);
        assert_true(strata__account_counts(elm, t2));
        assert_false(strata__account_counts(large, t2));
        assert_int_equal(t3->used[HOST], 4400 * MB);
        refused(elm, 1, 0); /* tier 2 has 400 left, which are lent already */
        strata__release(t2_model, HOST, 600 * MB);
        assert_int_equal(strata__account_available(elm, HOST), 600 * MB);
        strata__release(elm, HOST, 400 * MB);
        assert_false(strata__account_counts(elm, t2)); /* nothing is lent now */
        assert_int_equal(take(t2_model, 750 * MB), STRATA_OK);
        strata__ledger_close(&ledger);
    }
}

/* What is charged in spite of a limit shows as an excess, with what a lender does not have. */
static void excess(void **state)
{
    (void)state;
    struct strata__ledger *ledger = open_default();
    struct strata__account *elm = find(ledger, "tier3_reasoner/model_weights(openelm-1.1b)");
    struct strata__entry *entry;
    struct strata__scope before = strata__scope_set((struct strata__scope){elm, "elm"});
    assert_int_equal(strata__entry_open(&entry, 2000 * MB, STRATA__COLLECT_NOTHING, "test", NULL),
                     STRATA_OK);
    strata__scope_set(before);
    assert_int_equal(strata__account_excess(elm, HOST), 0);
    assert_int_equal(strata__entry_set(entry, 2201 * MB, STRATA__COLLECT_NOTHING, false),
                     STRATA_E_BUDGET);
    assert_int_equal(entry->bytes, 2000 * MB);
    assert_int_equal(strata__entry_set(entry, 2300 * MB, STRATA__COLLECT_NOTHING, true), STRATA_OK);
    assert_int_equal(strata__account_excess(elm, HOST), 100 * MB);
    assert_int_equal(take(find(ledger, "tier2_expander"), 1000 * MB), STRATA_OK);
    assert_int_equal(take(find(ledger, "tier3_reasoner"), 1700 * MB), STRATA_OK);
    assert_int_equal(strata__account_excess(elm, HOST), 100 * MB);
    assert_int_equal(strata__entry_set(entry, 0, STRATA__COLLECT_NOTHING, true), STRATA_OK);
    assert_int_equal(strata__account_excess(elm, HOST), 0);
    strata__entry_close(&entry);
    strata__ledger_close(&ledger);
}

/* Collecting goes on as long as it frees something and bytes are missing. */
static void collecting(void **state)
{
    (void)state;
    struct strata__ledger *ledger = open_default();
    struct strata__account *core = find(ledger, "core");
    assert_int_equal(take(core, 1400 * MB), STRATA_OK);
    source.from = core;
    source.left = 150 * MB;
    assert_int_equal(strata__charge(core, HOST, 200 * MB, STRATA__COLLECT_IDLE, "test"), STRATA_OK);
    assert_int_equal(source.calls, 1);
    assert_int_equal(source.asked, 100 * MB);
    assert_ptr_equal(source.top, core);
    assert_int_equal(source.how, STRATA__COLLECT_IDLE);
    assert_int_equal(strata__charge(core, HOST, 100 * MB, STRATA__COLLECT_ALL, "test"),
                     STRATA_E_BUDGET);
    assert_int_equal(source.calls, 3); /* 50 MB, then none */
    uint64_t requested, available;
    strata_last_budget(&requested, &available);
    assert_int_equal(requested, 100 * MB);
    assert_int_equal(available, 50 * MB);
    strata__ledger_close(&ledger);
}

/* ---- Blocks ---- */

struct listed {
    struct strata__entry *entries;
    size_t n;
};

static struct listed list(struct strata__ledger *ledger)
{
    struct listed l;
    assert_int_equal(strata__entries_list(ledger, &l.entries, &l.n), STRATA_OK);
    return l;
}

/* Blocks of 64 KiB or more are entries of the scope, with what of them is in memory. */
static void blocks_are_charged(void **state)
{
    (void)state;
    struct strata__ledger *ledger = open_default();
    struct strata__account *core = find(ledger, "core");
    struct strata__scope before = strata__scope_set((struct strata__scope){core, "a model"});
    char *small, *large, *aligned, *grown = NULL;
    assert_int_equal(strata__calloc(&small, 65535, 1, "small"), STRATA_OK);
    assert_int_equal(core->used[HOST], 0);
    assert_int_equal(strata__calloc(&large, 4096, 1024, "large"), STRATA_OK);
    assert_int_equal(strata__alloc_aligned(&aligned, 65536, "aligned"), STRATA_OK);
    assert_int_equal(core->used[HOST], (4 << 20) + 65536);
    assert_int_equal(strata__resize(&grown, 1000, 1, "grown"), STRATA_OK);
    assert_int_equal(strata__resize(&grown, 100000, 1, "grown"), STRATA_OK);
    assert_int_equal(strata__resize(&grown, 300000, 1, "grown again"), STRATA_OK);
    assert_int_equal(core->used[HOST], (4 << 20) + 65536 + 300000);
    strata__scope_set(before);
    memset(large, 1, 1 << 20);
    struct listed l = list(ledger);
    assert_int_equal(l.n, 3);
    for (size_t i = 0; i < l.n; i++) {
        const struct strata__entry *e = &l.entries[i];
        assert_ptr_equal(e->account, core);
        assert_string_equal(e->model, "a model");
        assert_true(e->is_block);
        if (e->address == large) {
            assert_string_equal(e->purpose, "large");
            assert_int_equal(e->bytes, 4 << 20);
            assert_in_range(e->resident, 1 << 20, 4 << 20);
        } else if (e->address == grown) {
            assert_string_equal(e->purpose, "grown");
            assert_int_equal(e->bytes, 300000);
        } else {
            assert_ptr_equal(e->address, aligned);
        }
    }
    free(l.entries);
    assert_int_equal(strata__resize(&grown, 10, 1, "grown"), STRATA_OK); /* no longer large */
    assert_int_equal(core->used[HOST], (4 << 20) + 65536);
    strata__free(large);
    strata__free(aligned);
    strata__free(grown);
    strata__free(small);
    assert_int_equal(core->used[HOST], 0);
    assert_int_equal(core->peak[HOST], (4 << 20) + 65536 + 300000);
    l = list(ledger);
    assert_int_equal(l.n, 0);
    free(l.entries);
    strata__ledger_close(&ledger);
}

/* A block that its budget refuses leaves everything as it was; one that outlives its ledger can
 * still be freed. */
static void refused_blocks(void **state)
{
    (void)state;
    struct strata__ledger *ledger;
    struct strata__account *total;
    assert_int_equal(strata__ledger_open(&ledger, 1 << 20, NULL, NULL), STRATA_OK);
    total = strata__ledger_total(ledger);
    struct strata__scope before = strata__scope_set((struct strata__scope){total, NULL});
    char *block = NULL, *other;
    assert_int_equal(strata__resize(&block, 1 << 19, 1, "block"), STRATA_OK);
    memset(block, 7, 1 << 19);
    assert_int_equal(strata__calloc(&other, 1 << 20, 1, "other"), STRATA_E_BUDGET);
    assert_null(other);
    char *old = block;
    assert_int_equal(strata__resize(&block, (1 << 20) + 1, 1, "block"), STRATA_E_BUDGET);
    assert_ptr_equal(block, old);
    assert_int_equal(block[(1 << 19) - 1], 7);
    assert_int_equal(total->used[HOST], 1 << 19);
    assert_int_equal(strata__calloc(&other, (size_t)PTRDIFF_MAX, 2, "other"), STRATA_E_NOMEM);
    assert_int_equal(strata__calloc(&other, 65536, 1, "other"), STRATA_OK);
    strata__free(other);
    assert_int_equal(total->used[HOST], 1 << 19);
    strata__scope_set(before);
    strata__ledger_close(&ledger);
    strata__free(block);
}

/* Every allocation of allocating fails once; nothing stays charged. */
static void failing_memory(void **state)
{
    (void)state;
    struct strata__ledger *ledger = open_default();
    struct strata__account *core = find(ledger, "core");
    struct strata__scope before = strata__scope_set((struct strata__scope){core, NULL});
    for (size_t n = 1; n <= 2; n++) { /* the entry, the block */
        char *block = NULL;
        fault_arm(FAULT_MEMORY, n, false, ENOMEM);
        assert_int_equal(strata__calloc(&block, 1 << 20, 1, "block"), STRATA_E_NOMEM);
        fault_reset();
        assert_null(block);
        assert_int_equal(strata__resize(&block, 1 << 20, 1, "block"), STRATA_OK);
        fault_arm(FAULT_MEMORY, 1, true, ENOMEM);
        assert_int_equal(strata__resize(&block, 1 << 21, 1, "block"), STRATA_E_NOMEM);
        fault_reset();
        assert_int_equal(core->used[HOST], 1 << 20);
        strata__free(block);
        assert_int_equal(core->used[HOST], 0);
    }
    strata__scope_set(before);
    strata__ledger_close(&ledger);
}

/* ---- Names ---- */

static void component_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        "/",
        "a/",      "/a",
        "a/b/c",   "a\tb",
        "core//x", "0123456789012345678901234567890123456789012345678901234567890123"};
    struct strata__ledger *ledger = open_default();
    struct strata__account *account;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(strata__budget_account(ledger, bad[i], &account), STRATA_E_INVALID);
    assert_int_equal(strata__budget_account(ledger, "new/part", &account), STRATA_OK);
    assert_ptr_equal(account, find(ledger, "new/part"));
    assert_ptr_equal(account->parent, find(ledger, "new"));
    assert_int_equal(account->limit[HOST], UINT64_MAX);
    strata_budget budgets[] = {{"tier3_reasoner/context", 300 * MB, 7, NULL}, {NULL, 0, 0, NULL}};
    strata_config config;
    strata_config_default(&config);
    config.budgets = budgets;
    config.n_budgets = 1;
    assert_int_equal(strata__budgets_apply(ledger, &config), STRATA_OK);
    account = find(ledger, "tier3_reasoner/context");
    assert_int_equal(account->limit[HOST], 300 * MB);
    assert_int_equal(account->limit[DEVICE], 7);
    config.n_budgets = 2;
    assert_int_equal(strata__budgets_apply(ledger, &config), STRATA_E_INVALID);
    config.n_budgets = 1;
    budgets[0] = (strata_budget){"total", 1, 1, NULL};
    assert_int_equal(strata__budgets_apply(ledger, &config), STRATA_E_INVALID);
    budgets[0] = (strata_budget){"core", 1, 1, "core"};
    assert_int_equal(strata__budgets_apply(ledger, &config), STRATA_E_INVALID);
    budgets[0] = (strata_budget){"tier3_reasoner/context", 1, 1, "tier3_reasoner"};
    assert_int_equal(strata__budgets_apply(ledger, &config), STRATA_E_INVALID);
    strata__ledger_close(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_budgets), cmocka_unit_test(limits_hold),
        cmocka_unit_test(lending),         cmocka_unit_test(excess),
        cmocka_unit_test(collecting),      cmocka_unit_test(blocks_are_charged),
        cmocka_unit_test(refused_blocks),  cmocka_unit_test(failing_memory),
        cmocka_unit_test(component_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
