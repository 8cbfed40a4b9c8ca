/* The smallest program that uses an installed strata. */
#include <stdio.h>
#include <strata.h>
#include <strata_facts.h>

int main(void)
{
    strata_runtime *runtime;
    strata_status status = strata_runtime_open(&runtime, NULL);
    if (status == STRATA_OK)
        printf("strata %s at level %s\n", strata_version(), strata_isa_name(runtime));
    else
        printf("%s: %s\n", strata_status_text(status), strata_last_error());
    if (status == STRATA_OK) { /* without a store: the function is there */
        strata_facts *facts;
        if (strata_facts_open(runtime, "", NULL, &facts) != STRATA_E_INVALID)
            status = STRATA_E_INTERNAL;
    }
    strata_runtime_close(&runtime);
    return status != STRATA_OK;
}
