#!/usr/bin/env bash
# Commands on the reference models: architectures that strata does not run are inspected, not run.
source "$(dirname "$0")/cli_checks.sh"
[ -d "$shared/golden/tiny" ] || { echo "skipped: $shared/golden/tiny is absent"; exit 77; }

expect 0 "$strata" inspect "$shared/golden/tiny/bert.gguf" --json
prints '"architecture":"bert".*"runnable":false'
expect 1 "$strata" generate -m "$shared/golden/tiny/bert.gguf" -p x
says 'bert'
expect 1 "$strata" tokenize -m "$shared/golden/tiny/bert.gguf" </dev/null
says 'bert\.gguf: tokenizer\.ggml\.model'
finish
