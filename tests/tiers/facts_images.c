/* facts_images [-u] WRITER FOLDER IMAGES SEED: lets WRITER (facts_writer) change a store and log
 * its writes, then builds what the disk may hold after the power went at a random moment: of the
 * pages that were written and not synced any are missing or torn at a sector.  Each image must
 * open, pass its check, and hold what was acknowledged, or that and the change under way; exit
 * status 1 where one does not.  With -u, WRITER does not sync: exit status 0 only when that is
 * found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "change_script.h"
#include "disk_log.h"

#define PAGE 4096
#define SECTOR 512
#define CHANGES "240"
#define FILE_MOST ((size_t)64 << 20)
#define PAGES_MOST (FILE_MOST / PAGE)

struct harness {
    const char *writer;
    bool unsafe;
    struct change_script script;
    uint64_t random;
    char store[2048], image[2048], log[2048], scratch[2100];
    unsigned char *bytes; /* of the log */
    size_t n_bytes;
    unsigned char *disk, *cache,
        *image_bytes; /* [FILE_MOST]: what is synced, and what is written */
    size_t disk_size, cache_size;
    bool dirty[PAGES_MOST]; /* pages in which they differ */
    long acknowledged;      /* changes; -1: there is no store yet */
    bool folders[2];        /* are synced */
    unsigned writes, synced_writes, images, bad;
};

static uint64_t draw(struct harness *h)
{
    return h->random = change_random(h->random);
}

/* ---- Writing ---- */

static bool write_store(struct harness *h)
{
    char seed[32];
    int state;
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)h->script.seed);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) || dup2(1, 3) != 3)
            _exit(127);
        execl(h->writer, h->writer, h->unsafe ? "-ul" : "-l", h->log, h->store, seed, "0", CHANGES,
              (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &state, 0) != child || state != 0) {
        fprintf(stderr, "the writer failed\n");
        return false;
    }
    FILE *in = fopen(h->log, "rb");
    struct stat about;
    if (!in || fstat(fileno(in), &about) != 0)
        return false;
    h->n_bytes = (size_t)about.st_size;
    h->bytes = malloc(h->n_bytes + 1);
    bool done = h->bytes && fread(h->bytes, 1, h->n_bytes, in) == h->n_bytes;
    fclose(in);
    return done;
}

/* ---- The disk ---- */

static void sync_range(struct harness *h, size_t at, size_t size)
{
    memcpy(h->disk + at, h->cache + at, size);
    if (at + size > h->disk_size)
        h->disk_size = at + size;
}

static void sync_all(struct harness *h)
{
    for (size_t page = 0; page < PAGES_MOST; page++)
        if (h->dirty[page]) {
            memcpy(h->disk + page * PAGE, h->cache + page * PAGE, PAGE);
            h->dirty[page] = false;
        }
    h->disk_size = h->cache_size;
}

static bool names_are_synced(const struct harness *h)
{
    if (h->folders[0] && h->folders[1])
        return true;
    fprintf(stderr, "the names of new files were not synced before the first change\n");
    return false;
}

/* What a record does; false: it cannot be. */
static bool replay(struct harness *h, const struct disk_log_record *record,
                   const unsigned char *data)
{
    const size_t at = (size_t)record->offset, end = at + record->size;
    switch (record->kind) {
    case LOG_WRITE:
    case LOG_WRITE_SYNCED:
        if (end > FILE_MOST)
            return false;
        memcpy(h->cache + at, data, record->size);
        h->cache_size = end > h->cache_size ? end : h->cache_size;
        h->writes++;
        h->synced_writes += record->kind == LOG_WRITE_SYNCED;
        if (record->kind == LOG_WRITE_SYNCED)
            sync_range(h, at, record->size);
        else
            for (size_t page = at / PAGE; page * PAGE < end; page++)
                h->dirty[page] = true;
        return true;
    case LOG_SYNC:
        sync_all(h);
        return true;
    case LOG_FOLDER_SYNC: /* the file has its name, and must be whole */
        h->folders[record->offset] = true;
        h->acknowledged = h->acknowledged < 0 ? 0 : h->acknowledged;
        return true;
    case LOG_ACKNOWLEDGED:
        h->acknowledged = (long)record->offset;
        return h->unsafe || names_are_synced(h);
    default: /* a store's file is never cut */
        return false;
    }
}

/* Builds an image of what is synced, and some of what is not. */
static size_t build_image(struct harness *h)
{
    size_t size = h->disk_size;
    const unsigned kept_of_8 = (unsigned)(draw(h) % 9), torn_of_8 = (unsigned)(draw(h) % 4);
    memcpy(h->image_bytes, h->disk, h->cache_size);
    for (size_t page = 0; page * PAGE < h->cache_size; page++) {
        if (!h->dirty[page] || draw(h) % 8 >= kept_of_8)
            continue;
        const uint64_t sectors = draw(h) % 8 < torn_of_8 ? draw(h) : UINT64_MAX;
        for (size_t i = 0; i < PAGE / SECTOR; i++)
            if (sectors >> i & 1)
                memcpy(h->image_bytes + page * PAGE + i * SECTOR,
                       h->cache + page * PAGE + i * SECTOR, SECTOR);
        size = (page + 1) * PAGE > size ? (page + 1) * PAGE : size;
    }
    return size;
}

/* ---- Opening ---- */

static void remove_store(const char *store)
{
    static const char *const names[] = {"data.mdb", "data.new", "lock.mdb", "users.lock"};
    char file[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", store, names[i]);
        unlink(file);
    }
    rmdir(store);
}

static bool survived(const struct harness *h)
{
    strata_facts *facts;
    unsigned n = (unsigned)h->acknowledged;
    if (strata_facts_open(NULL, h->image, NULL, &facts) != STRATA_OK) {
        fprintf(stderr, "after change %u: %s\n", n, strata_last_error());
        return false;
    }
    bool intact = change_survived(&h->script, facts, &n);
    if (intact && change_make(&h->script, facts, n) != STRATA_OK) {
        fprintf(stderr, "after change %u: %s\n", n, strata_last_error());
        intact = false;
    }
    strata_facts_close(&facts);
    return intact;
}

/* In a process of its own: LMDB ends it where pages are none. */
static bool check_image(struct harness *h)
{
    char file[4096];
    int state;
    const size_t size = build_image(h);
    h->images++;
    remove_store(h->image);
    snprintf(file, sizeof file, "%s/data.mdb", h->image);
    mkdir(h->image, 0777);
    FILE *out = fopen(file, "wb");
    if (!out || fwrite(h->image_bytes, 1, size, out) != size || fclose(out) != 0) {
        perror(file);
        exit(2);
    }
    pid_t child = fork();
    if (child == 0)
        _exit(survived(h) ? 0 : 1);
    const bool intact = child > 0 && waitpid(child, &state, 0) == child && state == 0;
    h->bad += !intact;
    return intact;
}

/* Images at moments all over the log, from the first acknowledgement on. */
static bool run(struct harness *h, unsigned images)
{
    struct disk_log_record record;
    size_t n = 0, i = 0;
    for (size_t at = 0; at + sizeof record <= h->n_bytes; at += sizeof record + record.size, n++)
        memcpy(&record, h->bytes + at, sizeof record);
    for (size_t at = 0; at + sizeof record <= h->n_bytes; at += sizeof record + record.size, i++) {
        memcpy(&record, h->bytes + at, sizeof record);
        if (at + sizeof record + record.size > h->n_bytes ||
            !replay(h, &record, h->bytes + at + sizeof record))
            return false;
        /* Those up to (i + 1) / n of the images. */
        for (; h->acknowledged >= 0 && h->images < images * (i + 1) / n;)
            if (!check_image(h) && h->unsafe)
                return false;
    }
    if (!h->synced_writes && !h->unsafe)
        fprintf(stderr, "the log has no write through a descriptor with O_DSYNC\n");
    return h->bad == 0 && h->images == images && h->synced_writes;
}

int main(int argc, char **argv)
{
    static struct harness h;
    struct timespec start, end;
    const bool unsafe = argc > 1 && strcmp(argv[1], "-u") == 0;
    if (argc != 5 + unsafe)
        return 2;
    argv += unsafe;
    h.writer = argv[1];
    h.unsafe = unsafe;
    h.acknowledged = -1;
    h.random = h.script.seed = strtoull(argv[4], NULL, 10);
    mkdir(argv[2], 0777);
    snprintf(h.store, sizeof h.store, "%s/written-%d", argv[2], getpid());
    snprintf(h.image, sizeof h.image, "%s/image-%d", argv[2], getpid());
    snprintf(h.log, sizeof h.log, "%s/log-%d", argv[2], getpid());
    snprintf(h.scratch, sizeof h.scratch, "%s.nt", h.store);
    h.script.scratch = h.scratch;
    h.disk = calloc(3, FILE_MOST);
    if (!h.disk)
        return 2;
    h.cache = h.disk + FILE_MOST;
    h.image_bytes = h.cache + FILE_MOST;
    clock_gettime(CLOCK_MONOTONIC, &start);
    const bool intact = write_store(&h) && run(&h, (unsigned)atoi(argv[3]));
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double s =
        (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    printf("%u images of %u writes, %u bad, %.0f images/s\n", h.images, h.writes, h.bad,
           h.images / s);
    remove_store(h.store);
    remove_store(h.image);
    unlink(h.log);
    unlink(h.scratch);
    free(h.disk);
    free(h.bytes);
    return (unsafe ? h.writes > 0 && h.bad > 0 : intact) ? 0 : 1;
}
