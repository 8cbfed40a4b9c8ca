/* Which pages are in memory, as the system says (mincore, /proc/self/status). */
#include <sys/mman.h>
#include <unistd.h>

#include "ledger.h"
#include "pressure.h"

/* Asked for at a time. */
#define PAGES 65536

uint64_t strata__resident_bytes(const void *address, uint64_t bytes)
{
    static _Thread_local unsigned char here[PAGES];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t at = (uintptr_t)address / page * page, end = (uintptr_t)address + bytes;
    uint64_t resident = 0;
    while (at < end) {
        uintptr_t size = end - at < PAGES * page ? end - at : PAGES * page;
        size_t n = (size + page - 1) / page;
        if (mincore((void *)at, size, here) != 0)
            return resident;
        for (size_t i = 0; i < n; i++)
            resident += here[i] & 1 ? page : 0;
        at += n * page;
    }
    return resident < bytes ? resident : bytes;
}

uint64_t strata__private_bytes(void)
{
    char text[8192];
    uint64_t anonymous = 0, shared = 0;
    if (!strata__small_file("", "/proc/self/status", text, sizeof text) ||
        !strata__field_u64(text, "RssAnon:", &anonymous))
        return 0;
    strata__field_u64(text, "RssShmem:", &shared);
    return (anonymous + shared) * 1024;
}
