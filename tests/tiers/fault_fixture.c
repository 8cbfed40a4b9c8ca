/* What the tests of failing stores share (fault_fixture.h). */
#include "fault_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

char fault_folder[64], fault_store[96];
static char scratch[96];
const struct change_script fault_script = {7, scratch};

int fault_set_up(void **state)
{
    (void)state;
    /* In memory where that is: the tests make thousands of commits. */
    snprintf(fault_folder, sizeof fault_folder, "%s/strata-facts-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(fault_folder))
        return 1;
    snprintf(fault_store, sizeof fault_store, "%s/store", fault_folder);
    snprintf(scratch, sizeof scratch, "%s/part.nt", fault_folder);
    return 0;
}

void fault_remove_store(void)
{
    char file[128];
    static const char *const names[] = {"data.mdb", "data.new", "lock.mdb", "users.lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", fault_store, names[i]);
        unlink(file);
    }
    rmdir(fault_store);
}

int fault_tear_down(void **state)
{
    (void)state;
    fault_disk_end();
    fault_remove_store();
    unlink(fault_store);
    unlink(scratch);
    return rmdir(fault_folder);
}

strata_facts *fault_open(void)
{
    strata_facts *facts = NULL;
    if (strata_facts_open(NULL, fault_store, NULL, &facts) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    return facts;
}

void fault_make_store(unsigned n)
{
    fault_remove_store();
    strata_facts *facts = fault_open();
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(change_make(&fault_script, facts, i), STRATA_OK);
    strata_facts_close(&facts);
}

void fault_expect_open(strata_facts *facts, unsigned n)
{
    if (strata_facts_check(facts, NULL, NULL) != STRATA_OK)
        fail_msg("%s", strata_last_error());
    assert_true(change_state_is(&fault_script, facts, n));
}

void fault_expect(unsigned n)
{
    strata_facts *facts = fault_open();
    fault_expect_open(facts, n);
    strata_facts_close(&facts);
}

void fault_refused(strata_status status, strata_status wanted, const char *text)
{
    if (status != wanted || !strstr(strata_last_error(), text))
        fail_msg("status %d, expected %d with \"%s\": %s", status, wanted, text,
                 strata_last_error());
}

void fault_in_child(int (*run)(void *user), void *user)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run(user));
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == FAULT_NO_DISK) {
        print_message("no file system can be mounted here\n");
        skip();
    }
    if (status != 0)
        fail_msg("the process ended with status %#x", (unsigned)status);
}

bool fault_mount(const char *size)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", fault_folder, "tmpfs", 0, size) == 0;
}

unsigned fault_descriptors(void)
{
    unsigned n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

/* ---- Calls ---- */

static int on_call(void *user, const struct disk_event *event)
{
    struct fault_disk *fault = user;
    char name[PATH_MAX];
    if (event->call != fault->call)
        return 0;
    if (event->call == DISK_OPEN)
        snprintf(name, sizeof name, "%s", event->path);
    else if (event->descriptor < 0 || !disk_name(event->descriptor, name, sizeof name))
        return 0;
    if (strncmp(name, fault_store, strlen(fault_store)) != 0)
        return 0;
    if (fault->synced_only && !(fcntl(event->descriptor, F_GETFL) & O_DSYNC))
        return 0;
    const unsigned n = ++fault->count;
    return n == fault->n || (n > fault->n && fault->later) ? fault->verdict : 0;
}

void fault_disk_arm(struct fault_disk *fault)
{
    fault->count = 0;
    disk_watch(on_call, fault);
}

void fault_disk_end(void)
{
    disk_watch(NULL, NULL);
}
