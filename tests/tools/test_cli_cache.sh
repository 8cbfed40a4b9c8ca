#!/usr/bin/env bash
# The command cache: what it lists and removes, sizes, exit statuses, a model that is in use.
source "$(dirname "$0")/cli_checks.sh"
[ -r "$tiny" ] || { echo "$tiny is absent" >&2; exit 1; }
packed=$STRATA_HOME/packed

# pack NAME...: loads copies of the model, so that their weights are packed one after the other.
pack() {
    local name
    for name in "$@"; do
        cp "$tiny" "$out/$name.gguf"
        expect 0 "$strata" generate -m "$out/$name.gguf" -p x -n 1
    done
}

# kept N: the folder has N files of packed weights.
kept() {
    local n
    n=$(find "$packed" -name '*.packed*' | wc -l)
    [ "$n" = "$1" ] || fail "$n files are kept instead of $1"
}

# Nothing there.
expect 0 "$strata" cache
prints "^0 files, 0 bytes in $packed, no limit$"
expect 0 "$strata" cache --json
prints "^\{\"folder\":\"$packed\",\"bytes\":0,\"limit_bytes\":null,\"files\":\[\]\}$"
expect 0 "$strata" cache clear
expect 0 "$strata" cache cap none
[ ! -e "$packed" ] || fail 'looking at the folder makes it'

# Wrong usage changes nothing.
pack a b
for size in '' x 1.5 1. .5 1e3 0x10 inf nan 5MBs 1,5GB '5 MB' 1EB 99999999999999999999 NONE; do
    expect 2 "$strata" cache cap "$size"
    says "'$size' is no size"
done
expect 2 "$strata" cache cap -5
expect 2 "$strata" cache cap
says 'SIZE is missing'
expect 2 "$strata" cache empty
says "'empty' is none of list, prune, cap, clear"
expect 2 "$strata" cache clear all
says "unexpected argument 'all'"
expect 2 "$strata" cache cap 5 5
kept 2

# list
touch -d '2020-01-02 03:04:05 UTC' "$packed"/a.gguf-*
expect 0 "$strata" cache list
lines 4
sed -n 2p "$out/stdout" | grep -q "ready  *$out/b.gguf$" || fail 'b is not the first'
sed -n 3p "$out/stdout" | grep -Eq "^301.1 kB +2020-01-02T03:04:05Z +ready +$out/a.gguf$" ||
    fail "the line of a: $(sed -n 3p "$out/stdout")"
prints "^2 files, 602.1 kB in $packed, no limit$"
expect 0 "$strata" cache --json
lines 1
prints '"bytes":602112,"limit_bytes":null,"files":\[\{"path":"' "$packed" \
    '/b\.gguf-[0-9a-f]{16}\.packed","model":"' "$out" '/b\.gguf","bytes":301056,"used":"'
prints '"used":"2020-01-02T03:04:05Z","state":"ready"\}\]\}$'

# A use makes it the latest; cap removes the others, and goes on doing so.
pack a
expect 0 "$strata" cache cap 0.4MB
prints "ready +$out/b.gguf$"
prints "^1 file removed, 301.1 kB freed; 1 file, 301.1 kB in $packed, limit 400.0 kB$"
kept 1
pack c
expect 0 "$strata" cache
prints "ready +$out/c.gguf$"
kept 1
for size in '1 1' '700000 700000' '700kb 700000' '1.5GiB 1610612736' '2GB 2000000000'; do
    expect 0 "$strata" cache cap "${size% *}" --json
    prints "\"limit_bytes\":${size#* },"
done
pack a b
kept 2
expect 0 "$strata" cache cap none --json
prints '"limit_bytes":null,"removed_bytes":0,"removed":\[\]\}$'

# prune
echo torn >"$packed/torn.packed"
echo half >"$packed/x.gguf-12.packed.abcdef"
mv "$out/a.gguf" "$out/away.gguf"
expect 0 "$strata" cache
prints "model-gone +$out/a.gguf"
prints "leftover +unknown: $packed/x.gguf-12.packed.abcdef$"
expect 0 "$strata" cache prune
prints "damaged +unknown: $packed/torn.packed$"
prints '^3 files removed, 301.1 kB freed; 1 file, 301.1 kB in '
kept 1
expect 0 "$strata" cache prune --json
prints '"bytes":301056,"limit_bytes":null,"removed_bytes":0,"removed":\[\]\}$'

# Control characters of a name reach no terminal.
cp "$tiny" "$out/"$'e\033[1m.gguf'
expect 0 "$strata" generate -m "$out/"$'e\033[1m.gguf' -p x -n 1
expect 0 "$strata" cache
prints 'e\?\[1m\.gguf$'
expect 0 "$strata" cache --json
prints 'e\\u001[bB]\[1m\.gguf"'

# A model in use keeps its file, until its program ends.
expect 0 "$strata" cache clear
kept 0
mkfifo "$out/pipe"
pack b
"$strata" logits -m "$out/b.gguf" <"$out/pipe" &
user=$!
exec 9>"$out/pipe"
for _ in $(seq 100); do
    "$strata" cache | grep -q 'in-use' && break
    sleep 0.05
done
expect 0 "$strata" cache
prints "in-use +$out/b.gguf$"
expect 0 "$strata" cache clear
prints '^0 files removed'
expect 0 "$strata" cache cap 0
kept 1
exec 9>&-
wait $user
expect 0 "$strata" cache clear
prints "^1 file removed, 301.1 kB freed; 0 files, 0 bytes in $packed, limit 0 bytes$"

# What cannot be read or written.
echo many >"$packed/limit"
expect 3 "$strata" cache
says 'packed/limit: not a number of bytes'
expect 0 "$strata" cache cap 1GB
expect 0 "$strata" cache
expect 1 env -u STRATA_HOME -u XDG_CACHE_HOME -u HOME "$strata" cache
says 'STRATA_HOME'
expect 1 env STRATA_HOME="$tiny" "$strata" cache cap 5
says 'llama256'
"$strata" cache --json >/dev/full 2>"$out/stderr"
[ $? = 1 ] || fail 'cache > /dev/full'
finish
