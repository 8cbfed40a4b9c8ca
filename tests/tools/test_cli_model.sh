#!/usr/bin/env bash
# Commands on a small model of tests/data.
source "$(dirname "$0")/cli_checks.sh"
[ -r "$tiny" ] || { echo "$tiny is absent" >&2; exit 1; }

expect 0 "$strata" inspect "$tiny"
prints '^architecture +llama$'
prints 'token_embd.weight +Q4_1'
expect 0 "$strata" inspect -m "$tiny"
expect 2 "$strata" inspect "$tiny" -m "$tiny"
expect 2 "$strata" inspect
expect 0 "$strata" generate -m "$tiny" -p Hello -n 2 --no-pack-cache
expect 2 "$strata" generate -m "$tiny" -p Hello --stop ""
says '--stop'
expect 2 "$strata" bench -m "$tiny" kernels
says "'kernels': the name of a suite comes first"
expect 0 "$strata" inspect "$tiny" --json --ctx 100
lines 1
prints '^\{"architecture":"llama",.*"context":100\},' \
    '"tensors":\[\{"name":"[^"]+","type":"[A-Z0-9_]+","shape":\['

# tokenize and back, bad lines in their places, NUL.
printf '%s\n' '{"text":"Hello"}' 'bad' '' '{"text":7}' '[]' \
    '{"text":"a\u0000b"}' '{"text":"\ud800"}' '{"text":"x","text":"y"}' |
    expect 1 "$strata" tokenize -m "$tiny"
lines 8
sed -n 1p "$out/stdout" | grep -Eq '^\{"ids":\[[0-9,]+\]\}$' || fail 'no ids in line 1'
for line in 2 3 4 5 7 8; do
    sed -n ${line}p "$out/stdout" |
        grep -Eq "^\{\"error\":\{\"code\":\"E_INVALID\",\"message\":\".+\",\"line\":$line\}\}$" ||
        fail "line $line is no error line: $(sed -n ${line}p "$out/stdout")"
done
printf '{"text":"Hello, world"}' | expect 0 "$strata" tokenize -m "$tiny"
cp "$out/stdout" "$out/ids"
expect 0 "$strata" tokenize -m "$tiny" --detokenize <"$out/ids"
prints 'Hello, world"\}$'
echo '{"ids":[1.5]}' | expect 1 "$strata" tokenize -m "$tiny" --detokenize
echo '{"ids":[100000000]}' | expect 1 "$strata" tokenize -m "$tiny" --detokenize
expect 0 "$strata" tokenize -m "$tiny" </dev/null
lines 0

# logits
printf '%s\n' '{"ids":[1,2,3]}' '{"ids":[]}' '{"ids":[-1]}' '{"ids":[1,2,3]}' |
    expect 1 "$strata" logits -m "$tiny" --top 2 --pick 0,5
lines 4
prints '^\{"top":\[\[[0-9]+,[-0-9.e]+\],\[[0-9]+,[-0-9.e]+\]\],' \
    '"mean":[-0-9.e]+,"std":[-0-9.e]+,"picked":\[\[0,[-0-9.e]+\],\[5,'
[ "$(sed -n 1p "$out/stdout")" = "$(sed -n 4p "$out/stdout")" ] ||
    fail 'the same ids give other logits'
sed -n 3p "$out/stdout" | grep -q '"line":3' || fail 'the bad id has no error line'
for list in , 1, x 1,,2 -1 99999999; do
    expect 2 "$strata" logits -m "$tiny" --pick "$list" </dev/null
    says 'pick:'
done

# generate
expect 0 "$strata" generate -m "$tiny" -p Hello -n 5 --ignore-eos
cp "$out/stdout" "$out/text"
printf Hello | expect 0 "$strata" generate -m "$tiny" -n 5 --ignore-eos -t 1
cmp -s "$out/text" "$out/stdout" || fail 'stdin and -p differ'
expect 0 "$strata" generate -m "$tiny" -p Hello -n 5 --ignore-eos --json -v
lines 1
prints '^\{"text":".*","ids":\[([0-9]+,){4}[0-9]+\],' \
    '"prompt_tokens":[0-9]+,"new_tokens":5,"prefill_ms":[0-9.]+,' \
    '"decode_ms":[0-9.]+,"stop":"length"\}$'
says 'tokens/s'
expect 2 "$strata" generate -m "$tiny" -p ''
says 'prompt is empty'
expect 2 "$strata" generate -m "$tiny" -p 'A prompt that is longer than the context' --ctx 3
says 'prompt has [0-9]+ tokens, the context has room for 3'
expect 2 "$strata" generate -m "$tiny" -p x --ctx 2000000000
expect 2 env STRATA_CPU=warp "$strata" generate -m "$tiny" -p x
says 'warp'
"$strata" generate -m "$tiny" -p x -n 5 --ignore-eos >/dev/full 2>"$out/stderr"
[ $? = 1 ] || fail 'generate > /dev/full'
says 'could not be written: No space'
"$strata" generate -q -m "$tiny" -p x -n 200 --ignore-eos 2>"$out/stderr" | head -c 1 >/dev/null
[ "${PIPESTATUS[0]}" = 1 ] || fail 'a broken pipe does not end with 1'
[ -s "$out/stderr" ] && fail "a broken pipe is spoken of: $(cat "$out/stderr")"

# Ctrl-C while waiting for input, and while evaluating.
mkfifo "$out/pipe"
sleep 5 >"$out/pipe" &
writer=$!
expect 130 timeout --preserve-status -s INT 1 "$strata" tokenize -m "$tiny" <"$out/pipe"
kill "$writer"
yes 'Some words to be read by the model.' | head -n 20000 >"$out/long.txt"
expect 130 timeout --preserve-status -s INT 1 \
    "$strata" perplexity -m "$tiny" -f "$out/long.txt" --window 32

# perplexity
head -n 40 "$out/long.txt" >"$out/short.txt"
expect 0 "$strata" perplexity -m "$tiny" -f "$out/short.txt" --window 16 --json
prints '^\{"perplexity":[0-9.]+,"tokens":[0-9]+,"stderr":[0-9.]+\}$'
expect 1 "$strata" perplexity -m "$tiny" -f /dev/null --window 16
says 'has 0 tokens, a window takes'

# bench
expect 0 "$strata" bench -m "$tiny" -p 8 -n 4 -d 3 -r 2 --json --bandwidth 1e10
prints '"phase":"prefill","prompt":8,"new":0,"batch":1,"depth":3,"threads":[0-9]+,' \
    '"tokens_per_s":[-0-9.e]+,"ms_p50":[-0-9.e]+,"ms_p95":[-0-9.e]+,' \
    '"bytes_per_s":[-0-9.e]+,"of_roofline":null'
prints '"phase":"decode","prompt":0,"new":4,.*"of_roofline":[0-9.e-]+\}\]\}$'
expect 2 "$strata" bench -m "$tiny" -p 100000000 -r 1
expect 0 "$strata" bench -m "$tiny" -p 8 -n 4 -b 3 -r 1 --json
prints '"phase":"decode","prompt":0,"new":4,"batch":3,'

# bench of a model that makes sentence vectors: one phase, of what the model takes of the text.
bert=$source_dir/tests/data/tiny/bert.gguf
expect 0 "$strata" bench -m "$bert" -p 7 -b 3 -r 2 --bandwidth 1e10 --json
prints '"results":\[\{"phase":"embed","prompt":7,"new":0,"batch":3,"depth":0,"threads":[0-9]+,' \
    '"tokens_per_s":[0-9.e]+,"ms_p50":[0-9.e]+,"ms_p95":[0-9.e]+,' \
    '"bytes_per_s":[0-9.e]+,"of_roofline":null\}\]\}$'
expect 0 "$strata" bench -m "$bert" -p 7 --ctx 5 -n 0 -d 0 -r 1
prints '^embed +5 '
expect 0 "$strata" bench -m "$bert" -p 1000000000 -r 1 --json
prints '"prompt":[0-9]{2,3},'
for option in '-n 4' '-d 3' '--kv-type q8_0'; do
    expect 2 "$strata" bench -m "$bert" $option
    says "${option% *}: .*bert.gguf makes sentence vectors"
done
expect 2 "$strata" bench -m "$bert" -p 2
says '2 tokens of every text are special'

# Packed weights are kept, and used, and not kept when that is not wanted.
rm -rf "$STRATA_HOME/packed"
expect 0 "$strata" generate -m "$tiny" -p x -n 1 --no-pack-cache
[ ! -e "$STRATA_HOME/packed" ] || fail "--no-pack-cache keeps packed weights"
expect 0 "$strata" generate -v -m "$tiny" -p x -n 1
says 'packing [0-9.]+ MB of weights, once'
expect 0 "$strata" generate -v -m "$tiny" -p x -n 1
! grep -q packing "$out/stderr" || fail "a second start packs again"
[ "$(ls "$STRATA_HOME/packed" | wc -l)" -eq 1 ] || fail "not one file of packed weights"

# A template that is not there is refused by name, not guessed.
expect 1 "$strata" generate -m "$tiny" -p x --chat
says 'template'
echo hello | expect 1 "$strata" chat -q -m "$tiny"
expect 1 "$strata" chat -q -m "$tiny" </dev/null
says 'template'

finish
