/* Runs a fuzz target without libFuzzer: `replay_TARGET MUTATIONS FOLDER...` gives it every file of
 * the folders (missing folders are passed over), and that many mutations of each file, the same in
 * every run.  A finding ends the program and leaves the input, after its size in 8 bytes, in the
 * file replay_TARGET.input of the current folder. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#define INPUT_MAX (1u << 18)
#define GROWTH 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file mapped shared, so that a crash leaves the input in it. */
static struct input {
    size_t size;
    uint8_t bytes[INPUT_MAX];
} * input;

static uint64_t state;

/* xorshift64* (Vigna 2016). */
static uint64_t random_u64(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

static size_t below(size_t n)
{
    return (size_t)(random_u64() % n);
}

/* Overwrites 1, 2, 4 or 8 bytes with a number that limits like. */
static void put_number(void)
{
    static const uint64_t numbers[] = {
        0,          1,          2,          3,          4,         8,          9,
        12,         13,         31,         32,         33,        63,         64,
        255,        256,        0x7f,       0x80,       0xffff,    0x7fffffff, 0x80000000,
        0xffffffff, 1ull << 32, 1ull << 62, 1ull << 63, INT64_MAX, UINT64_MAX, UINT64_MAX - 31};
    uint64_t number = numbers[below(sizeof numbers / sizeof *numbers)];
    size_t width = (size_t)1 << below(4);
    if (input->size >= width)
        memcpy(input->bytes + below(input->size - width + 1), &number, width);
}

/* Copies a piece of the input over, or into, another place. */
static void copy_piece(int insert)
{
    uint8_t piece[GROWTH];
    size_t size = 1 + below(GROWTH);
    size = size < input->size ? size : input->size;
    memcpy(piece, input->bytes + below(input->size - size + 1), size);
    size_t to = below(input->size - size + 1);
    if (insert && input->size + size <= INPUT_MAX) {
        memmove(input->bytes + to + size, input->bytes + to, input->size - to);
        input->size += size;
    }
    memcpy(input->bytes + to, piece, size);
}

static void remove_piece(void)
{
    size_t size = 1 + below(GROWTH);
    size = size < input->size ? size : input->size;
    size_t at = below(input->size - size + 1);
    memmove(input->bytes + at, input->bytes + at + size, input->size - at - size);
    input->size -= size;
}

static void mutate(void)
{
    for (size_t n = 1 + below(4); n-- > 0 && input->size > 0;)
        switch (below(7)) {
        case 0:
            input->bytes[below(input->size)] ^= (uint8_t)(1u << below(8));
            break;
        case 1:
            input->bytes[below(input->size)] = (uint8_t)random_u64();
            break;
        case 2:
        case 3:
            put_number();
            break;
        case 4:
            copy_piece(below(2) == 0);
            break;
        case 5:
            remove_piece();
            break;
        default:
            input->size = below(8) ? input->size : below(input->size);
            break;
        }
}

static void run(void)
{
    uint8_t *exact = malloc(input->size ? input->size : 1);
    if (!exact)
        abort();
    memcpy(exact, input->bytes, input->size);
    LLVMFuzzerTestOneInput(exact, input->size);
    free(exact);
}

static void replay(const char *path, unsigned long mutations)
{
    static uint8_t seed[INPUT_MAX];
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    size_t size = fread(seed, 1, sizeof seed, stream);
    fclose(stream);
    state = UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned long i = 0; i <= mutations; i++) {
        memcpy(input->bytes, seed, size);
        input->size = size;
        if (i > 0)
            mutate();
        run();
    }
}

static unsigned replay_folder(const char *folder, unsigned long mutations)
{
    struct dirent **entries;
    unsigned files = 0;
    int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        free(entries[i]);
        if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        replay(path, mutations);
        files++;
    }
    if (n >= 0)
        free(entries);
    return files;
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    char path[256];
    snprintf(path, sizeof path, "%s.input", basename(argv[0]));
    int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (argc < 3 || descriptor < 0 || ftruncate(descriptor, sizeof *input) != 0) {
        fprintf(stderr, "usage: %s MUTATIONS FOLDER...\n", argv[0]);
        return EXIT_FAILURE;
    }
    input = mmap(NULL, sizeof *input, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (input == MAP_FAILED) {
        perror(path);
        return EXIT_FAILURE;
    }
    for (int i = 2; i < argc; i++)
        files += replay_folder(argv[i], strtoul(argv[1], NULL, 10));
    printf("%u files, %s mutations of each\n", files, argv[1]);
    unlink(path);
    return files ? EXIT_SUCCESS : EXIT_FAILURE;
}
