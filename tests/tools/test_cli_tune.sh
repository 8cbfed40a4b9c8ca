#!/usr/bin/env bash
# strata tune: what it prints, keeps, shows and removes.
source "$(dirname "$0")/cli_checks.sh"
file=none # the file of choices, once there is one

kept_files() {
    find "$STRATA_HOME/tune" -type f 2>/dev/null
}

for options in '--show --reset' '--show --quick' '--reset --dry-run'; do
    expect 2 "$strata" tune $options
    says 'exclude each other'
done
expect 2 "$strata" tune surplus
expect 0 "$strata" tune --show
prints "^No tuned choices: $STRATA_HOME/tune/" '[0-9a-f]{16}\.tune: No such file'
expect 0 "$strata" tune --reset
prints 'There were no'
expect 0 "$strata" topology
prints '^tuned +no: '

# A dry run leaves nothing, not even a folder.
expect 0 "$strata" tune --quick --dry-run
prints '^what +default +best +Gmac/s +Gmac/s +gain +kept$'
prints '^Nothing was kept'
[ -z "$(kept_files)" ] || fail "a dry run kept $(kept_files)"
[ -e "$STRATA_HOME/tune" ] && fail "a dry run made the folder"

# A run that keeps its choices, which everything started later uses.
expect 0 "$strata" tune --quick --json
lines 1
prints '^\{"path":"[^"]*/tune/[0-9a-f]{16}\.tune","in_use":false,"reason":"[^"]+",' \
    '"choices":\[(\{"what":"[^"]+","default":"[^"]+","best":"[^"]+",' \
    '"default_macs_per_s":[0-9.e+]+,"best_macs_per_s":[0-9.e+]+,' \
    '"gain_percent":[-0-9.e]+,"kept":(true|false)\},?)*\]\}$'
file=$(kept_files)
[ -f "$file" ] || fail "'$file' is not one file"
grep -Eq '^strata-tune 4 \| [0-9.]+ \| [a-z0-9]+ \| [0-9]+ cores \| .' "$file" ||
    fail "the first line is $(head -1 "$file")"
grep -Eq '^checksum [0-9a-f]{16}$' "$file" || fail "no checksum in the file"
expect 0 "$strata" topology
prints "^tuned +[0-9]+ choices of $file$"
expect 0 "$strata" tune --show
prints "^Tuned choices of $file$"
expect 0 "$strata" tune --show --json
prints '"in_use":true,"reason":"","choices":\['
expect 0 "$strata" generate -m "$tiny" -p Hello -n 2 --no-pack-cache
if "$strata" topology | grep -q ' avx2'; then
    expect 0 env STRATA_CPU=ref "$strata" tune --show
    prints 'lowered to ref'
    expect 2 env STRATA_CPU=ref "$strata" tune
    says 'lowered to ref'
fi

# A damaged file is told about and not used.
cp "$file" "$out/good" && printf 'threads 1\n' >>"$file"
expect 0 "$strata" tune --show -v
prints '^No tuned choices: .*:[0-9]+: more after the checksum'
says "^strata: info: $file:[0-9]+: more after the checksum; its choices are not used$"
expect 0 "$strata" topology
prints '^tuned +no: .* more after the checksum'
expect 0 "$strata" generate -m "$tiny" -p Hello -n 2 --no-pack-cache
cp "$out/good" "$file"

expect 0 "$strata" tune --reset --json
prints '^\{"removed":true\}$'
[ -z "$(kept_files)" ] || fail "--reset left $(kept_files)"

# Where nothing can be kept, that is said before anything is measured.
expect 1 env STRATA_HOME=/dev/null "$strata" tune
says '/dev/null/tune'
expect 1 env -u STRATA_HOME -u XDG_CACHE_HOME -u HOME "$strata" tune
says 'no folder for tuned choices'
finish
