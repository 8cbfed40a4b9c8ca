/* The smallest program that uses an installed strata. */
#include <stdio.h>
#include <strata.h>

int main(void)
{
    strata_runtime *runtime;
    strata_status status = strata_runtime_open(&runtime, NULL);
    if (status == STRATA_OK)
        printf("strata %s at level %s\n", strata_version(), strata_isa_name(runtime));
    else
        printf("%s: %s\n", strata_status_text(status), strata_last_error());
    strata_runtime_close(&runtime);
    return status != STRATA_OK;
}
