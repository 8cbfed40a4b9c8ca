/* Writes the first corpus of fuzz_cache into the folder argv[1]: a value of each kind, and a
 * record. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static unsigned char bytes[4096];
static size_t size;

static void put(const void *from, size_t n)
{
    memcpy(bytes + size, from, n);
    size += n;
}

/* As answer_bytes.c writes them. */
static void put_term(uint64_t id, uint32_t kind, const char *const texts[4])
{
    uint32_t sizes[6] = {kind};
    for (int i = 0; i < 4; i++)
        sizes[1 + i] = texts[i] ? (uint32_t)strlen(texts[i]) : UINT32_MAX;
    put(&id, sizeof id);
    put(sizes, sizeof sizes);
    for (int i = 0; i < 4; i++)
        if (texts[i])
            put(texts[i], strlen(texts[i]));
}

static void put_answer(void)
{
    static const char *const terms[3][4] = {
        {"u:s", NULL, NULL, "label"}, {"u:p", NULL, NULL, NULL}, {"5", NULL, "u:int", NULL}};
    const struct {
        uint64_t n;
        int64_t tier;
    } head = {2, 1};
    put(&head, sizeof head);
    for (unsigned i = 0; i < 2; i++) {
        const struct {
            double score;
            uint8_t same, why, rest[6];
        } fact = {0.5, i ? 3 : 0, (uint8_t)(i * 9), {0}};
        put(&fact, sizeof fact);
        for (unsigned k = i ? 2 : 0; k < 3; k++)
            put_term(k + 1, k == 2 ? 2 : 0, terms[k]);
    }
}

static int write_seed(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        return 1;
    size = 0;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    put("\0", 1);
    put_answer();
    int failed = write_seed(argv[1], "answer");
    put("\1", 1);
    put_answer();
    failed |= write_seed(argv[1], "text");
    const float range[] = {-0.2F, 0.002F};
    put("\2", 1);
    put(range, sizeof range);
    for (unsigned i = 0; i < 64; i++)
        put(&(unsigned char){(unsigned char)(i * 37)}, 1);
    failed |= write_seed(argv[1], "vector");
    put("\7", 1); /* the checksum is made right */
    const size_t start = size;
    const struct {
        uint64_t checksum, use, graph, model;
        uint32_t key_size, value_size;
        float cost_ms;
        uint32_t kind;
    } record = {0, 1, 2, 3, 3, 0, 5, 1};
    put(&record, sizeof record);
    put("key", 3);
    const size_t value = size;
    put_answer();
    const uint32_t value_size = (uint32_t)(size - value);
    memcpy(bytes + start + 36, &value_size, sizeof value_size);
    return failed | write_seed(argv[1], "record");
}
