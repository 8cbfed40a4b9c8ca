/* strata plan of several models: what the tiers of a service would have in memory. */
#ifndef STRATA_TOOLS_PLAN_SERVICE_H
#define STRATA_TOOLS_PLAN_SERVICE_H

#include "cli.h"

#define PLAN_TIERS 3

struct plan_service {
    const struct cli_common *common;
    const struct cli_texts *models; /* [PLAN_TIERS]: of tiers 1 to 3 */
    const char *facts;              /* the folder of a store, or NULL */
    unsigned sessions;
};

/* Prints the plan.  The exit status: that of a budget when not all fits. */
int plan_service_run(const struct plan_service *service);

#endif
