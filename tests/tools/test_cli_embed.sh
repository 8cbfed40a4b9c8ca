#!/usr/bin/env bash
# The command embed: answers, options, what is cut, refused lines, input that comes slowly.
source "$(dirname "$0")/cli_checks.sh"
bert=$source_dir/tests/data/tiny/bert.gguf
[ -r "$bert" ] || { echo "$bert is absent" >&2; exit 1; }

# One line for each line, in their order; refused ones in their place.
printf '%s\n' '{"text":"the cat"}' '{"txt":1}' 'bad' '{"text":""}' '{"text":"a\u0000b"}' |
    expect 1 "$strata" embed -m "$bert"
lines 5
grep -o '^{"[a-z]*"' "$out/stdout" | tr -d '\n' >"$out/kinds"
[ "$(cat "$out/kinds")" = '{"embedding"{"error"{"error"{"embedding"{"embedding"' ] ||
    fail "kinds of lines: $(cat "$out/kinds")"
prints '"code":"E_INVALID","message":"text: missing","line":2'
prints '"tokens":2,"truncated":false'

# The last line may lack its newline.  Texts are cut at the model's length, or --ctx.
printf '{"text":"the cat and the old dog"}' >"$out/text"
expect 0 "$strata" embed -m "$bert" <"$out/text"
lines 1
cp "$out/stdout" "$out/whole"
expect 0 "$strata" embed -m "$bert" --ctx 4 <"$out/text"
prints '"tokens":4,"truncated":true'
for ctx in 1 129; do
    expect 2 "$strata" embed -m "$bert" --ctx $ctx <"$out/text"
    says '--ctx: max_tokens'
done
expect 0 "$strata" embed -m "$bert" --no-normalize <"$out/text"
cmp -s "$out/stdout" "$out/whole" && fail '--no-normalize has no effect'
expect 0 "$strata" embed -m "$bert" --compute dynamic --no-pack-cache -t 2 <"$out/text"
cmp -s "$out/stdout" "$out/whole" && fail '--compute dynamic has no effect'
echo '{"text":"the [MASK]"}' >"$out/special"
expect 0 "$strata" embed -m "$bert" <"$out/special"
cp "$out/stdout" "$out/plain"
expect 0 "$strata" embed -m "$bert" --special <"$out/special"
cmp -s "$out/stdout" "$out/plain" && fail '--special has no effect'
expect 2 "$strata" embed -m "$bert" --kv-type q8_0 <"$out/text"

# A program that waits for each answer gets it.
mkfifo "$out/in"
"$strata" embed -m "$bert" <"$out/in" >"$out/answers" &
exec 3>"$out/in"
for n in 1 2; do
    echo '{"text":"the cat"}' >&3
    for _ in $(seq 200); do
        [ "$(wc -l <"$out/answers")" -ge $n ] && break
        sleep 0.05
    done
    [ "$(wc -l <"$out/answers")" = $n ] || fail "no answer $n while the input is open"
done
exec 3>&-
wait $! || fail 'embed failed at the end of its input'

# Other kinds of models, both ways.
expect 1 "$strata" embed -m "$tiny" <"$out/text"
says 'generates text'
for command in "generate -p x" logits "perplexity -f $out/text"; do
    # shellcheck disable=SC2086 # words of a command
    expect 1 "$strata" $command -m "$bert" </dev/null
    says 'makes sentence vectors'
done
expect 0 "$strata" inspect "$bert"
prints 'memory +weights [0-9.]+ kB$'
finish
