/* The components of a runtime's ledger and their limits. */
#ifndef STRATA_BUDGETS_H
#define STRATA_BUDGETS_H

#include "ledger.h"

/* Makes the ledger's accounts: the default ones (strata_memory.h), then what the configuration
 * says.  E_INVALID: a component whose name cannot be, named; E_NOMEM. */
strata_status strata__budgets_apply(struct strata__ledger *ledger, const strata_config *config);

/* Bytes of host memory for everything, and those from which on what is idle is given back. */
uint64_t strata__budget_total(const strata_config *config);
uint64_t strata__budget_aim(const strata_config *config);

/* The account at a path, made when there is none.  E_INVALID, E_NOMEM. */
strata_status strata__budget_account(struct strata__ledger *ledger, const char *path,
                                     struct strata__account **out);

#endif
