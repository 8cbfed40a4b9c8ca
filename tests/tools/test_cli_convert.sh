#!/usr/bin/env bash
# strata convert: the small folders of tests/data end to end, and what is refused.
source "$(dirname "$0")/cli_checks.sh"
folders=$source_dir/tests/data/folders

expect 2 "$strata" convert
expect 2 "$strata" convert "$folders/bert"
expect 2 "$strata" convert "$folders/bert" "$out/x.gguf" surplus
expect 2 "$strata" convert "$folders/bert" "$out/x.gguf" --type q4_0
says 'convert writes f32, f16, bf16 and q8_0'
expect 2 "$strata" convert "$folders/bert" "$folders/bert/model.safetensors"
says 'must end in \.gguf'

# Every type of both architectures, read back.
for type in f32 F16 bf16 q8_0; do
    expect 0 "$strata" convert "$folders/llama" "$out/llama.gguf" --type $type
    [ -s "$out/stdout" ] && fail "convert printed $(head -c 100 "$out/stdout")"
    [ -s "$out/stderr" ] && fail "convert said $(head -c 100 "$out/stderr")"
    expect 0 "$strata" inspect "$out/llama.gguf"
    prints llama
    "$strata" inspect "$out/llama.gguf" --json >"$out/stdout"
    prints '"name": ?"blk\.1\.attn_q\.weight", ?"type": ?"'"${type^^}"'", ?"shape": ?\[32, ?32\]'
    expect 0 "$strata" generate -m "$out/llama.gguf" -p 'the and' -n 4 --temp 0 --no-pack-cache
    expect 0 "$strata" convert "$folders/bert" "$out/bert.gguf" --type $type
    "$strata" inspect "$out/bert.gguf" --json >"$out/stdout"
    prints '"architecture": ?"bert"'
    prints '"name": ?"token_embd\.weight", ?"type": ?"'"${type^^}"'", ?"shape": ?\[32, ?62\]'
    prints '"name": ?"position_embd\.weight", ?"type": ?"F32"'
done
expect 0 "$strata" convert "$folders/llama/" "$out/default.gguf"
"$strata" inspect "$out/default.gguf" --json >"$out/stdout"
prints '"name": ?"output_norm\.weight", ?"type": ?"F32"'
prints '"name": ?"token_embd\.weight", ?"type": ?"F16"'
echo '{"text":"the and thing 12"}' | "$strata" tokenize -m "$out/default.gguf" >"$out/stdout"
prints '\{"ids": ?\[[0-9, ]+\]\}'

# A folder that is refused leaves what was there, and nothing beside it.
cp -r "$folders/llama" "$out/broken"
rm "$out/broken/model-00002-of-00002.safetensors"
printf old >"$out/kept.gguf"
before=$(ls -A "$out")
expect 3 "$strata" convert "$out/broken" "$out/kept.gguf"
says '^strata: .*/broken/model-00002-of-00002\.safetensors: missing, but .*index\.json names it'
[ "$(cat "$out/kept.gguf")" = old ] || fail "a refused folder replaced the file"
[ "$(ls -A "$out")" = "$before" ] || fail "left behind: $(ls -A "$out")"
expect 1 "$strata" convert "$out/none" "$out/kept.gguf"
says 'none: cannot open the folder: No such file'
expect 1 "$strata" convert "$folders/bert" "$out/none/x.gguf"
says 'none/x\.gguf: cannot make a file beside it: No such file'
expect 1 "$strata" convert "$folders/bert" /dev/null/x.gguf
ln -s /dev/full "$out/full.gguf"
expect 1 "$strata" convert "$folders/bert" "$out/full.gguf"
says 'full\.gguf: there is something that is not a plain file'

# A limit of file sizes, as a full disk: an error, not a signal.
before=$(ls -A "$out")
(ulimit -f 8 && exec "$strata" convert "$folders/bert" "$out/kept.gguf") 2>"$out/stderr"
status=$?
[ $status = 1 ] || fail "status $status under a limit of file sizes"
says 'kept\.gguf: cannot write at byte [0-9]+: File too large'
[ "$(cat "$out/kept.gguf")" = old ] || fail "a short file replaced the old one"
[ "$(ls -A "$out")" = "$before" ] || fail "left behind: $(ls -A "$out")"

# A whole result replaces it.
expect 0 "$strata" convert "$folders/bert" "$out/kept.gguf"
[ "$(head -c 4 "$out/kept.gguf")" = GGUF ] || fail "the file was not replaced"
finish
