/* Accounts: charging within limits (ledger.h). */
#include "ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct strata__ledger {
    struct strata__account *accounts, **end; /* the first is the total */
    strata__collect_fn *collect;
    void *user;
};

/* Of all accounts of all ledgers: what is done with it held takes no time. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Entries, in chains by address. */
#define CHAINS 1024
static struct strata__entry *chains[CHAINS];

static _Thread_local struct strata__scope scope_now;

struct strata__scope strata__scope_set(struct strata__scope scope)
{
    struct strata__scope before = scope_now;
    scope_now = scope;
    return before;
}

struct strata__scope strata__scope_now(void)
{
    return scope_now;
}

/* ---- The tree ---- */

/* Accounts are allocated past the ledger: it cannot account for itself. */
static strata_status add(struct strata__ledger *ledger, struct strata__account *parent,
                         const char *name, struct strata__account **out)
{
    struct strata__account *account = calloc(1, sizeof *account);
    if (!account)
        return strata__fail(STRATA_E_NOMEM, "no memory for an account");
    account->ledger = ledger;
    account->parent = parent;
    snprintf(account->name, sizeof account->name, "%s", name);
    for (int kind = 0; kind < STRATA__MEMORY_KINDS; kind++)
        account->limit[kind] = STRATA__NO_LIMIT;
    *ledger->end = account;
    ledger->end = &account->next;
    *out = account;
    return STRATA_OK;
}

strata_status strata__ledger_open(struct strata__ledger **out, uint64_t limit,
                                  strata__collect_fn *collect, void *user)
{
    *out = NULL;
    struct strata__account *total;
    struct strata__ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger)
        return strata__fail(STRATA_E_NOMEM, "no memory for the ledger");
    ledger->end = &ledger->accounts;
    ledger->collect = collect;
    ledger->user = user;
    strata_status status = add(ledger, NULL, "total", &total);
    if (status != STRATA_OK) {
        free(ledger);
        return status;
    }
    total->limit[STRATA__HOST_MEMORY] = limit;
    *out = ledger;
    return STRATA_OK;
}

static void orphan_entries(const struct strata__ledger *ledger)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CHAINS; i++)
        for (struct strata__entry *e = chains[i]; e; e = e->next)
            if (e->account && e->account->ledger == ledger)
                e->account = NULL;
    pthread_mutex_unlock(&lock);
}

void strata__ledger_close(struct strata__ledger **handle)
{
    struct strata__ledger *ledger = *handle;
    if (!ledger)
        return;
    orphan_entries(ledger);
    while (ledger->accounts) {
        struct strata__account *next = ledger->accounts->next;
        free(ledger->accounts);
        ledger->accounts = next;
    }
    free(ledger);
    *handle = NULL;
}

struct strata__account *strata__ledger_total(const struct strata__ledger *ledger)
{
    return ledger->accounts;
}

/* With the lock held. */
static struct strata__account *child(const struct strata__account *parent, const char *name,
                                     size_t size)
{
    for (struct strata__account *a = parent->ledger->accounts; a; a = a->next)
        if (a->parent == parent && strncmp(a->name, name, size) == 0 && !a->name[size])
            return a;
    return NULL;
}

strata_status strata__ledger_account(struct strata__account *parent, const char *name,
                                     struct strata__account **out)
{
    char kept[sizeof parent->name];
    snprintf(kept, sizeof kept, "%s", name);
    pthread_mutex_lock(&lock);
    *out = child(parent, kept, strlen(kept));
    strata_status status = *out ? STRATA_OK : add(parent->ledger, parent, kept, out);
    pthread_mutex_unlock(&lock);
    return status;
}

struct strata__account *strata__ledger_find(const struct strata__ledger *ledger, const char *path)
{
    struct strata__account *at = ledger->accounts;
    if (strcmp(path, "total") == 0)
        return at;
    pthread_mutex_lock(&lock);
    while (at && *path) {
        size_t size = strcspn(path, "/");
        at = size < sizeof at->name ? child(at, path, size) : NULL;
        path += size + (path[size] == '/');
    }
    pthread_mutex_unlock(&lock);
    return at;
}

const char *strata__account_path(const struct strata__account *account, char *out, size_t cap)
{
    const struct strata__account *parent = account->parent;
    if (parent && parent->parent)
        snprintf(out, cap, "%s/%s", parent->name, account->name);
    else
        snprintf(out, cap, "%s", account->name);
    return out;
}

strata_status strata__ledger_list(const struct strata__ledger *ledger, struct strata__account **out,
                                  size_t *count)
{
    size_t n = 0;
    pthread_mutex_lock(&lock);
    for (const struct strata__account *a = ledger->accounts; a; a = a->next)
        n++;
    *out = calloc(n, sizeof **out);
    *count = 0;
    for (const struct strata__account *a = ledger->accounts; a && *out; a = a->next)
        (*out)[(*count)++] = *a;
    pthread_mutex_unlock(&lock);
    return *out ? STRATA_OK : strata__fail(STRATA_E_NOMEM, "no memory to list the accounts");
}

/* ---- Room ---- */

static uint64_t above(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What others use of `lender`: their parents' bytes beyond the parents' limits. */
static uint64_t lent(const struct strata__account *lender, enum strata__memory kind)
{
    uint64_t bytes = 0;
    for (const struct strata__account *a = lender->ledger->accounts; a; a = a->next)
        if (a->lender == lender)
            bytes += above(a->parent->used[kind], a->parent->limit[kind]);
    return bytes;
}

/* Bytes that an account may hold in all, when `leaf`, below it or itself, holds `more` than now. */
static uint64_t capacity(const struct strata__account *account, const struct strata__account *leaf,
                         enum strata__memory kind, uint64_t more)
{
    uint64_t limit = account->limit[kind];
    if (limit == STRATA__NO_LIMIT)
        return limit;
    uint64_t bytes = above(limit, lent(account, kind));
    for (const struct strata__account *a = account->ledger->accounts; a; a = a->next)
        if (a->lender && a->parent == account) {
            uint64_t own = a->used[kind] + (a == leaf ? more : 0);
            bytes += smaller(own, above(a->lender->limit[kind], a->lender->used[kind]));
        }
    return bytes;
}

/* With the lock held: the first account from `leaf` up that has no room for bytes, or NULL. */
static const struct strata__account *full(const struct strata__account *leaf,
                                          enum strata__memory kind, uint64_t bytes)
{
    for (const struct strata__account *a = leaf; a; a = a->parent)
        if (above(capacity(a, leaf, kind, bytes), a->used[kind]) < bytes)
            return a;
    return NULL;
}

static uint64_t available(const struct strata__account *leaf, enum strata__memory kind)
{
    uint64_t least = STRATA__NO_LIMIT;
    for (const struct strata__account *a = leaf; a; a = a->parent)
        least = smaller(least, above(capacity(a, leaf, kind, INT64_MAX), a->used[kind]));
    return least;
}

uint64_t strata__account_used(const struct strata__account *account, enum strata__memory kind)
{
    pthread_mutex_lock(&lock);
    uint64_t bytes = account->used[kind];
    pthread_mutex_unlock(&lock);
    return bytes;
}

uint64_t strata__account_available(const struct strata__account *account, enum strata__memory kind)
{
    pthread_mutex_lock(&lock);
    uint64_t bytes = available(account, kind);
    pthread_mutex_unlock(&lock);
    return bytes;
}

uint64_t strata__account_excess(const struct strata__account *account, enum strata__memory kind)
{
    uint64_t most = 0;
    pthread_mutex_lock(&lock);
    for (const struct strata__account *a = account; a; a = a->parent) {
        uint64_t over = above(a->used[kind], capacity(a, account, kind, 0));
        most = over > most ? over : most;
    }
    pthread_mutex_unlock(&lock);
    return most;
}

bool strata__account_counts(const struct strata__account *account,
                            const struct strata__account *top)
{
    for (const struct strata__account *a = account; a; a = a->parent)
        if (a == top)
            return true;
    pthread_mutex_lock(&lock);
    bool counts = account->lender == top && account->parent->used[STRATA__HOST_MEMORY] >
                                                account->parent->limit[STRATA__HOST_MEMORY];
    pthread_mutex_unlock(&lock);
    return counts;
}

/* ---- Charging ---- */

static void take(struct strata__account *leaf, enum strata__memory kind, uint64_t bytes)
{
    for (struct strata__account *a = leaf; a; a = a->parent) {
        a->used[kind] += bytes;
        if (a->used[kind] > a->peak[kind])
            a->peak[kind] = a->used[kind];
    }
}

/* Why bytes were not charged. */
struct refusal {
    const struct strata__account *top; /* the account that is full; NULL: they were */
    uint64_t missing;                  /* bytes */
    bool lent;                         /* others use some of it */
};

static struct refusal try_to_take(struct strata__account *leaf, enum strata__memory kind,
                                  uint64_t bytes)
{
    struct refusal refusal = {0};
    pthread_mutex_lock(&lock);
    refusal.top = full(leaf, kind, bytes);
    if (refusal.top) {
        uint64_t all = capacity(refusal.top, leaf, kind, bytes);
        refusal.missing = bytes - above(all, refusal.top->used[kind]);
        refusal.lent = lent(refusal.top, kind) > 0;
    } else {
        take(leaf, kind, bytes);
    }
    pthread_mutex_unlock(&lock);
    return refusal;
}

static strata_status refuse(const struct strata__account *leaf, const struct strata__account *top,
                            enum strata__memory kind, uint64_t bytes, const char *what)
{
    char path[160];
    pthread_mutex_lock(&lock);
    uint64_t room = available(leaf, kind), limit = top->limit[kind], used = top->used[kind];
    pthread_mutex_unlock(&lock);
    return strata__fail_budget(
        bytes, room,
        "%s: %.1f MB requested, %.1f MB available: the budget of %s is %.1f MB%s, of which %.1f MB "
        "are used; ask for less, close what is not needed, or raise the budget",
        what, (double)bytes / 1e6, (double)room / 1e6, strata__account_path(top, path, sizeof path),
        (double)limit / 1e6, kind == STRATA__DEVICE_MEMORY ? " of devices" : "",
        (double)used / 1e6);
}

strata_status strata__charge(struct strata__account *leaf, enum strata__memory kind, uint64_t bytes,
                             enum strata__collect how, const char *what)
{
    if (!leaf)
        return STRATA_OK;
    bool collects = kind == STRATA__HOST_MEMORY && how != STRATA__COLLECT_NOTHING;
    struct refusal refusal = try_to_take(leaf, kind, bytes);
    while (refusal.top && collects && leaf->ledger->collect) {
        /* What is lent comes back, whoever uses it. */
        if (leaf->ledger->collect(leaf->ledger->user, refusal.top, refusal.missing,
                                  refusal.lent ? STRATA__COLLECT_ALL : how) == 0)
            break;
        refusal = try_to_take(leaf, kind, bytes);
    }
    return refusal.top ? refuse(leaf, refusal.top, kind, bytes, what) : STRATA_OK;
}

uint64_t strata__collect_for_system(uint64_t bytes)
{
    const struct strata__account *account = scope_now.account;
    if (!account || !account->ledger->collect)
        return 0;
    return account->ledger->collect(account->ledger->user, account->ledger->accounts, bytes,
                                    STRATA__COLLECT_ALL);
}

void strata__release(struct strata__account *leaf, enum strata__memory kind, uint64_t bytes)
{
    pthread_mutex_lock(&lock);
    for (struct strata__account *a = leaf; a; a = a->parent)
        a->used[kind] = above(a->used[kind], bytes);
    pthread_mutex_unlock(&lock);
}

/* ---- Entries ---- */

static struct strata__entry **chain_of(const void *address)
{
    return &chains[((uintptr_t)address >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 54];
}

strata_status strata__entry_open(struct strata__entry **out, uint64_t bytes,
                                 enum strata__collect how, const char *purpose, const char *device)
{
    *out = NULL;
    enum strata__memory kind = device ? STRATA__DEVICE_MEMORY : STRATA__HOST_MEMORY;
    STRATA_TRY(strata__charge(scope_now.account, kind, bytes, how, purpose));
    struct strata__entry *entry = calloc(1, sizeof *entry);
    if (!entry) {
        strata__release(scope_now.account, kind, bytes);
        return strata__fail(STRATA_E_NOMEM, "%s: no memory to account for it", purpose);
    }
    entry->account = scope_now.account;
    entry->kind = kind;
    entry->bytes = bytes;
    entry->device = device;
    snprintf(entry->model, sizeof entry->model, "%s", scope_now.model ? scope_now.model : "");
    snprintf(entry->purpose, sizeof entry->purpose, "%s", purpose);
    *out = entry;
    return STRATA_OK;
}

void strata__entry_add(struct strata__entry *entry, const void *address)
{
    struct strata__entry **chain = chain_of(address);
    entry->address = address;
    pthread_mutex_lock(&lock);
    entry->next = *chain;
    *chain = entry;
    pthread_mutex_unlock(&lock);
}

struct strata__entry *strata__entry_remove(const void *address)
{
    pthread_mutex_lock(&lock);
    struct strata__entry **at = chain_of(address);
    while (*at && (*at)->address != address)
        at = &(*at)->next;
    struct strata__entry *entry = *at;
    if (entry)
        *at = entry->next;
    pthread_mutex_unlock(&lock);
    return entry;
}

strata_status strata__entry_set(struct strata__entry *entry, uint64_t bytes,
                                enum strata__collect how, bool forced)
{
    uint64_t before = entry->bytes;
    if (bytes > before && !forced)
        STRATA_TRY(
            strata__charge(entry->account, entry->kind, bytes - before, how, entry->purpose));
    if (bytes < before)
        strata__release(entry->account, entry->kind, before - bytes);
    pthread_mutex_lock(&lock);
    if (bytes > before && forced)
        take(entry->account, entry->kind, bytes - before);
    entry->bytes = bytes;
    pthread_mutex_unlock(&lock);
    return STRATA_OK;
}

void strata__entry_close(struct strata__entry **handle)
{
    struct strata__entry *entry = *handle;
    if (!entry)
        return;
    strata__release(entry->account, entry->kind, entry->bytes);
    free(entry);
    *handle = NULL;
}

static uint64_t resident_of(const struct strata__entry *entry)
{
    uint64_t bytes = 0;
    if (entry->is_block)
        return strata__resident_bytes(entry->address, entry->bytes);
    if (!entry->extents)
        return entry->bytes;
    for (size_t i = 0; i < entry->n_extents; i++)
        bytes += strata__resident_bytes(entry->extents[i].address, entry->extents[i].bytes);
    return bytes;
}

/* Their number; as many as there is room for are copied. */
static size_t copy_entries(const struct strata__ledger *ledger, struct strata__entry *out,
                           size_t capacity)
{
    size_t n = 0;
    for (size_t i = 0; i < CHAINS; i++)
        for (const struct strata__entry *e = chains[i]; e; e = e->next) {
            if (!e->account || e->account->ledger != ledger)
                continue;
            if (n < capacity) {
                out[n] = *e;
                out[n].resident = resident_of(e);
            }
            n++;
        }
    return n;
}

strata_status strata__entries_list(const struct strata__ledger *ledger, struct strata__entry **out,
                                   size_t *count)
{
    pthread_mutex_lock(&lock);
    size_t n = copy_entries(ledger, NULL, 0);
    *out = calloc(n ? n : 1, sizeof **out);
    *count = *out ? copy_entries(ledger, *out, n) : 0;
    pthread_mutex_unlock(&lock);
    return *out ? STRATA_OK : strata__fail(STRATA_E_NOMEM, "no memory to list what is charged");
}
