/* Budgets, and what is charged to them.
 *
 * A ledger (one a runtime) is a tree of accounts: "total" above all, below it the components
 * (strata_memory.h).  Bytes are charged to an account and to all above it, and refused where one of
 * them would be over its limit.  Limits are no reservations: those of the children may add up to
 * more than the parent's.  An account with a lender may, beyond its parent's limit, use what the
 * lender does not; the lender is refused bytes while they are lent, and collecting gets them back.
 *
 * An entry is one thing that is charged: a block of host memory, pages of mapped files that are
 * wanted in memory, or memory of a device.  Blocks are entries from STRATA__COUNTED_BYTES on;
 * memory.c makes them, for the scope of its thread.
 *
 * Any thread may call.  Nothing here waits for more than another such call.
 */
#ifndef STRATA_LEDGER_H
#define STRATA_LEDGER_H

#include "status.h"

#define STRATA__COUNTED_BYTES ((size_t)64 << 10)
#define STRATA__NO_LIMIT UINT64_MAX

enum strata__memory { STRATA__HOST_MEMORY, STRATA__DEVICE_MEMORY, STRATA__MEMORY_KINDS };

struct strata__account {
    struct strata__ledger *ledger;
    struct strata__account *parent; /* NULL: the total */
    struct strata__account *lender; /* or NULL */
    struct strata__account *next;   /* of the ledger, in the order in which they were made */
    char name[64];
    uint64_t limit[STRATA__MEMORY_KINDS], used[STRATA__MEMORY_KINDS], peak[STRATA__MEMORY_KINDS];
};

/* How far collecting goes to make room. */
enum strata__collect {
    STRATA__COLLECT_NOTHING,
    STRATA__COLLECT_IDLE, /* caches, and layers of models that are idle */
    STRATA__COLLECT_ALL,  /* layers of all models: they are read from disk as they run */
};

/* Frees bytes that are charged to `top`, or below it; returns how many.  Called without any lock of
 * the ledger. */
typedef uint64_t strata__collect_fn(void *user, const struct strata__account *top, uint64_t bytes,
                                    enum strata__collect how);

/* A ledger with the account "total".  E_NOMEM. */
strata_status strata__ledger_open(struct strata__ledger **out, uint64_t limit,
                                  strata__collect_fn *collect, void *user);

/* Entries that are left belong to no account from then on. */
void strata__ledger_close(struct strata__ledger **ledger);

struct strata__account *strata__ledger_total(const struct strata__ledger *ledger);

/* The account `name` (at most 63 bytes are kept) below `parent`; made without limits when there is
 * none.  Accounts live as long as the ledger.  E_NOMEM. */
strata_status strata__ledger_account(struct strata__account *parent, const char *name,
                                     struct strata__account **out);

/* The account at a path as "tier3_reasoner/context"; "total" or "": the total.  NULL: none. */
struct strata__account *strata__ledger_find(const struct strata__ledger *ledger, const char *path);

/* The path of an account; returns out. */
const char *strata__account_path(const struct strata__account *account, char *out, size_t cap);

/* Copies of all accounts, for reports; the caller frees them.  E_NOMEM. */
strata_status strata__ledger_list(const struct strata__ledger *ledger, struct strata__account **out,
                                  size_t *count);

/* True when what is charged to `account` counts for `top`: below it, or as what `top` has lent. */
bool strata__account_counts(const struct strata__account *account,
                            const struct strata__account *top);

/* Bytes that are charged to it and to those below; those that could be now. */
uint64_t strata__account_used(const struct strata__account *account, enum strata__memory kind);
uint64_t strata__account_available(const struct strata__account *account, enum strata__memory kind);

/* Bytes that it and the accounts above it are over their limits: the largest. */
uint64_t strata__account_excess(const struct strata__account *account, enum strata__memory kind);

/* Charges bytes (account NULL: nothing to do), after collecting where they do not fit.  E_BUDGET
 * (strata_last_budget has the numbers; `what` names what they are for).  The caller gives them back
 * with strata__release. */
strata_status strata__charge(struct strata__account *account, enum strata__memory kind,
                             uint64_t bytes, enum strata__collect how, const char *what);
void strata__release(struct strata__account *account, enum strata__memory kind, uint64_t bytes);

/* Where the system has no memory for this thread: collects from the ledger of its scope.  Returns
 * the bytes that were freed. */
uint64_t strata__collect_for_system(uint64_t bytes);

/* ---- Scope ---- */

/* What a thread's allocations are for. */
struct strata__scope {
    struct strata__account *account; /* NULL: of no runtime */
    const char *model;               /* borrowed; NULL: none */
};

/* Sets this thread's scope and returns the one before. */
struct strata__scope strata__scope_set(struct strata__scope scope);
struct strata__scope strata__scope_now(void);

/* ---- Entries ---- */

struct strata__extent {
    const void *address;
    uint64_t bytes;
};

struct strata__entry {
    struct strata__account *account;
    enum strata__memory kind;
    const void *address; /* of a block, or what else identifies the entry */
    bool is_block;       /* of host memory, at its address */
    uint64_t bytes;      /* that are charged */
    uint64_t resident;   /* in copies: of them, in memory (of devices and holders: all) */
    const struct strata__extent *extents; /* of mapped files, borrowed; NULL: not mapped */
    size_t n_extents;
    const char *device; /* or NULL */
    char model[64], purpose[48];
    struct strata__entry *next;
};

/* An entry for this thread's scope, of kind STRATA__HOST_MEMORY unless it has a device, charged
 * with so many bytes; in no list yet.  E_BUDGET, E_NOMEM. */
strata_status strata__entry_open(struct strata__entry **out, uint64_t bytes,
                                 enum strata__collect how, const char *purpose, const char *device);

/* Puts it into the list, and takes it out again (NULL: there is none). */
void strata__entry_add(struct strata__entry *entry, const void *address);
struct strata__entry *strata__entry_remove(const void *address);

/* Charges or releases the difference.  After E_BUDGET it is as it was; `forced` is never refused.
 * One thread at a time for an entry. */
strata_status strata__entry_set(struct strata__entry *entry, uint64_t bytes,
                                enum strata__collect how, bool forced);

/* Releases what is charged and frees an entry that is in no list; NULL is allowed. */
void strata__entry_close(struct strata__entry **entry);

/* Copies of all entries of a ledger's accounts, with what of them is resident: asks the system
 * about all their pages, which keeps the ledger busy for some milliseconds a GB.  The caller frees
 * them. E_NOMEM. */
strata_status strata__entries_list(const struct strata__ledger *ledger, struct strata__entry **out,
                                   size_t *count);

/* ---- Pages (ledger_pages.c) ---- */

/* Bytes of the mapped range that are in memory: of files, in the page cache. */
uint64_t strata__resident_bytes(const void *address, uint64_t bytes);

/* Anonymous and shared memory of this process, in bytes; 0: the system does not say. */
uint64_t strata__private_bytes(void);

#endif
