#!/usr/bin/env bash
# Commands on the reference models: architectures that strata does not run are inspected, not run.
source "$(dirname "$0")/cli_checks.sh"
[ -d "$shared/golden/tiny" ] || { echo "skipped: $shared/golden/tiny is absent"; exit 77; }

expect 0 "$strata" inspect "$shared/golden/tiny/gemma3.gguf" --json
prints '"architecture":"gemma3".*"runnable":false'
expect 1 "$strata" generate -m "$shared/golden/tiny/gemma3.gguf" -p x
says 'gemma3'

# Tokenizers are known whatever the architecture; the ids are llama.cpp's, in runs.jsonl.
text='The cat and the old dog, playing in the river!'
echo "{\"text\":\"$text\"}" | expect 0 "$strata" tokenize -m "$shared/golden/tiny/bert.gguf"
prints '^\{"ids":\[2,88,93,89,88,103,94,42,99,104,92,88,98,45,3\]\}$'
echo '{"text":"the\u00e9 \u0000"}' | expect 0 "$strata" tokenize -m "$shared/golden/tiny/gemma3.gguf"
cp "$out/stdout" "$out/ids"
expect 0 "$strata" tokenize -m "$shared/golden/tiny/gemma3.gguf" --detokenize <"$out/ids"
prints '^\{"text":"<s>theé \\u0000"\}$'
finish
