/* Opening the CUDA plug-in (device_cuda.h). */
#include "device_cuda.h"

#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIABLE "STRATA_CUDA_PLUGIN"

__attribute__((format(printf, 2, 3))) static bool refuse(char *reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, STRATA__CUDA_REASON, format, args);
    va_end(args);
    return false;
}

/* What the plug-in wrote, for a message. */
struct told {
    char text[256], shown[256];
};

static const char *show(struct told *told)
{
    told->text[sizeof told->text - 1] = '\0';
    if (!told->text[0])
        return "it does not say why";
    return strata__escape(told->shown, sizeof told->shown, told->text, strlen(told->text));
}

/* ---- Found ---- */

/* A path that can be given to dlopen: of a plain file, since opening a FIFO would wait. */
static bool is_file(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode);
}

/* The file that this code was loaded from; *program says whether that is the program itself. */
static bool own_file(char path[PATH_MAX], bool *program)
{
    Dl_info info;
    struct link_map *map = NULL;
    *program = false;
    if (!dladdr1((void *)&strata__cuda_open, &info, (void **)&map, RTLD_DL_LINKMAP) || !map)
        return false;
    if (map->l_name[0])
        return snprintf(path, PATH_MAX, "%s", map->l_name) < PATH_MAX;
    *program = true;
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (size <= 0)
        return false;
    path[size] = '\0';
    return true;
}

static bool find_beside(char path[PATH_MAX], char *reason)
{
    char own[PATH_MAX];
    bool program;
    if (!own_file(own, &program))
        return refuse(reason, "no CUDA plug-in: the folder of strata's library is unknown; set "
                              "$" VARIABLE " to the path of " STRATA_CUDA_LIBRARY);
    char *slash = strrchr(own, '/');
    const char *folder = slash ? own : ".";
    if (slash)
        *slash = '\0';
    static const char *const between[] = {"", STRATA_PROGRAMS_TO_LIBRARIES "/"};
    for (unsigned i = 0; i < (program ? 2 : 1); i++)
        if (snprintf(path, PATH_MAX, "%s/%s%s", folder, between[i], STRATA_CUDA_LIBRARY) <
                PATH_MAX &&
            is_file(path))
            return true;
    return refuse(reason,
                  "no CUDA plug-in: %s is not in %.200s%s; install it there, or set $" VARIABLE
                  " to its path",
                  STRATA_CUDA_LIBRARY, folder,
                  program ? " or its " STRATA_PROGRAMS_TO_LIBRARIES : "");
}

static bool find_plugin(char path[PATH_MAX], char *reason)
{
    const char *given = secure_getenv(VARIABLE);
    if (!given || !*given)
        return find_beside(path, reason);
    if (is_file(given) &&
        snprintf(path, PATH_MAX, "%s%s", strchr(given, '/') ? "" : "./", given) < PATH_MAX)
        return true;
    return refuse(reason,
                  "no CUDA plug-in: $" VARIABLE
                  " is '%.200s', which is no file; set it to the path "
                  "of " STRATA_CUDA_LIBRARY ", or unset it",
                  given);
}

/* ---- Opened ---- */

static bool check_table(const struct strata_cuda_plugin *table, const char *path, char *reason)
{
    if (!table)
        return refuse(reason, "CUDA plug-in %.200s gives no table; install the one of strata %s",
                      path, strata_version());
    if (table->abi != STRATA_CUDA_ABI || table->size < sizeof *table)
        return refuse(reason,
                      "CUDA plug-in %.200s is of another version: ABI %u of %u bytes, needed is %u "
                      "of %zu bytes; install the one of strata %s",
                      path, table->abi, table->size, STRATA_CUDA_ABI, sizeof *table,
                      strata_version());
    if (!table->device_count || !table->device_info || !table->self_test)
        return refuse(reason, "CUDA plug-in %.200s lacks a function; install the one of strata %s",
                      path, strata_version());
    return true;
}

/* The code stays loaded after dlclose: CUDA's libraries have threads and exit handlers. */
static bool load(struct strata__cuda *cuda, const char *path)
{
    cuda->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!cuda->library) {
        const char *error = dlerror();
        return refuse(cuda->reason,
                      "CUDA plug-in cannot be opened: %.400s; reinstall it, and the CUDA libraries "
                      "that it names",
                      error ? error : path);
    }
    strata_cuda_entry_fn *entry = (strata_cuda_entry_fn *)dlsym(cuda->library, STRATA_CUDA_ENTRY);
    if (!entry)
        return refuse(cuda->reason,
                      "%.200s is no CUDA plug-in: it has no function " STRATA_CUDA_ENTRY
                      "; install the one of strata %s",
                      path, strata_version());
    const struct strata_cuda_plugin *table = entry();
    if (!check_table(table, path, cuda->reason))
        return false;
    cuda->plugin = table;
    snprintf(cuda->path, sizeof cuda->path, "%s", path);
    return true;
}

/* ---- Driver ---- */

static bool start_driver(struct strata__cuda *cuda)
{
    struct told told = {.text = ""};
    int error = cuda->plugin->device_count(&cuda->devices, told.text, sizeof told.text);
    if (!error)
        return true;
    cuda->devices = 0;
    cuda->plugin = NULL;
    return refuse(cuda->reason,
                  "the CUDA driver cannot be used: %s (error %d); install or update NVIDIA's "
                  "driver until nvidia-smi lists the GPU",
                  show(&told), error);
}

void strata__cuda_open(struct strata__cuda *cuda)
{
    char path[PATH_MAX];
    const char *given = secure_getenv(VARIABLE);
    *cuda = (struct strata__cuda){0};
    bool found = find_plugin(path, cuda->reason);
    cuda->absent = !found && (!given || !*given);
    if (found && load(cuda, path))
        start_driver(cuda);
}

void strata__cuda_close(struct strata__cuda *cuda)
{
    if (cuda->library)
        dlclose(cuda->library);
    *cuda = (struct strata__cuda){0};
}

/* ---- Device, self-test ---- */

static bool has_address(const struct strata_cuda_device *device, const char *pci)
{
    unsigned domain, bus, slot, function;
    return sscanf(pci, "%x:%x:%x.%x", &domain, &bus, &slot, &function) == 4 &&
           device->pci_domain == domain && device->pci_bus == bus && device->pci_device == slot &&
           device->pci_function == function;
}

static bool refuse_device(char *reason, struct told *told, int error)
{
    return refuse(reason,
                  "the CUDA driver cannot use the device: %s (error %d); see nvidia-smi and the "
                  "kernel's log",
                  show(told), error);
}

/* A device that fails without an address may be the one. */
static bool find_device(const struct strata__cuda *cuda, const char *pci, uint32_t *index,
                        struct strata_cuda_device *device, char *reason)
{
    struct told told, unknown = {.text = ""};
    int unknown_error = 0;
    for (*index = 0; *index < cuda->devices; ++*index) {
        *device = (struct strata_cuda_device){0};
        told.text[0] = '\0';
        int error = cuda->plugin->device_info(*index, device, told.text, sizeof told.text);
        if (has_address(device, pci)) {
            device->name[sizeof device->name - 1] = '\0';
            device->blas[sizeof device->blas - 1] = '\0';
            return error ? refuse_device(reason, &told, error) : true;
        }
        if (error && !unknown_error && has_address(device, "0:0:0.0")) {
            unknown_error = error;
            unknown = told;
        }
    }
    if (unknown_error)
        return refuse_device(reason, &unknown, unknown_error);
    return refuse(reason,
                  "the CUDA driver does not show it (%u other device%s); see CUDA_VISIBLE_DEVICES, "
                  "nvidia-smi, and whether this container may use it",
                  cuda->devices, cuda->devices == 1 ? "" : "s");
}

bool strata__cuda_use(const struct strata__cuda *cuda, const char *pci, uint32_t *index,
                      struct strata_cuda_device *device, char *reason)
{
    struct told told = {.text = ""};
    *device = (struct strata_cuda_device){0};
    if (!cuda->plugin)
        return refuse(reason, "%s", cuda->reason);
    if (!find_device(cuda, pci, index, device, reason))
        return false;
    int error = cuda->plugin->self_test(*index, told.text, sizeof told.text);
    if (error)
        return refuse(reason,
                      "self-test failed: %s (error %d); the GPU or its driver computes wrongly: "
                      "see nvidia-smi and the kernel's log",
                      show(&told), error);
    snprintf(reason, STRATA__CUDA_REASON,
             "CUDA device %u, compute capability %u.%u, self-test passed, %s", *index,
             device->compute_major, device->compute_minor, device->blas);
    return true;
}
