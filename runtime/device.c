/* Memory of devices, charged like the host's (device.h). */
#include "device.h"

strata_status strata__device_alloc(struct strata__device *device, size_t bytes, const char *what,
                                   void **out)
{
    struct strata__entry *entry;
    STRATA_TRY(strata__entry_open(&entry, bytes, STRATA__COLLECT_NOTHING, what, device->name));
    strata_status status = device->ops->alloc(device, bytes, out);
    if (status == STRATA_OK)
        strata__entry_add(entry, *out);
    else
        strata__entry_close(&entry);
    return status;
}

void strata__device_free(struct strata__device *device, void *memory)
{
    struct strata__entry *entry = strata__entry_remove(memory);
    strata__entry_close(&entry);
    device->ops->free(device, memory);
}
