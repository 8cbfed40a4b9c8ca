#!/usr/bin/env bash
# strata plan: what it prints, budgets that hold all, some or none of a model, and wrong usage.
source "$(dirname "$0")/cli_checks.sh"
[ -r "$tiny" ] || { echo "$tiny is absent" >&2; exit 1; }

expect 0 "$strata" plan "$tiny" -t 1
prints '^layer 0 +cpu '
prints '^output head +cpu '
prints '^cpu +## 2 layers$'
prints '^disk +\.\. 0 layers$'
prints '^expected +[0-9.]+ tokens/s on 1 thread, '
prints '^1 GiB more +[0-9.]+ tokens/s$'

expect 0 "$strata" plan -m "$tiny" -t 1 --json --ctx 100 --sessions 3
prints '"layers":\[\{"index":0,"name":"layer 0","device":"cpu","bytes":[0-9]+,"kv_bytes":153600,'
prints '"budget_bytes":8000000000,"needed_bytes":[0-9]+,'
needed=$(grep -Eo '"needed_bytes":[0-9]+' "$out/stdout" | grep -Eo '[0-9]+')
bytes=$(grep -Eo '"bytes":[0-9]+' "$out/stdout" | head -n 1 | grep -Eo '[0-9]+')

# The least budget has a plan with layers on disk; a byte less has none, and says what is needed.
expect 0 "$strata" plan "$tiny" -t 1 --json --ctx 100 --sessions 3 --memory-limit "$needed"
prints '"needed_bytes":'"$needed"','
expect 4 "$strata" plan "$tiny" -t 1 --ctx 100 --sessions 3 --memory-limit $((needed - 1))
says "needs at least $needed bytes of host memory .* the budget is $((needed - 1));"
[ "$bytes" -gt 100000 ] || fail "a layer of $bytes bytes"

expect 2 "$strata" plan
expect 2 "$strata" plan "$tiny" -m "$tiny"
expect 2 "$strata" plan "$tiny" --memory-limit nix
says "'nix' is no size"
expect 2 "$strata" plan "$tiny" --memory-limit 0
expect 2 "$strata" plan "$tiny" --sessions 0
expect 1 "$strata" plan absent.gguf
expect 2 "$strata" plan "$tiny" --ctx 100000

# A service: its models, the vectors of a store, and all else at its limit.
bert=$(dirname "$tiny")/bert.gguf
printf '<u:a> <http://www.w3.org/2000/01/rdf-schema#label> "a cat" .\n' > "$out/one.nt"
expect 0 "$strata" facts import "$out/store" "$out/one.nt" --embed-model "$bert"
vectors=$(cat "$out"/store/*.vectors | wc -c)
service=(--tier1 "$bert" --tier2 "$tiny" --tier3 "$tiny" --tier3 "$tiny" --facts "$out/store")
expect 0 "$strata" plan -t 1 "${service[@]}" --ctx 100
prints '^core +1.5 GB +1.5 GB$'
prints '^base_indices +[0-9.]+ [kM]B +500.0 MB$'
prints '^  model_weights\(bert\) +[0-9.]+ kB +-$'
prints '^  result_cache\(semantic\) +200.0 MB +200.0 MB$'
prints '^  context +[0-9.]+ [kM]B +200.0 MB$'
prints '^total +2.[0-9] GB +8.0 GB  5.[0-9] GB free$'
service=(--tier2 "$tiny" --facts "$out/store" --ctx 100)
expect 0 "$strata" plan -t 1 "${service[@]}" --json
prints '"component":"base_indices","bytes":'"$vectors"',"limit_bytes":500000000,"fits":true'
prints '"tier2_expander/model_weights\([^)]*\)","bytes":[0-9]+,"limit_bytes":null,"fits":true'
! grep -q '"component":"tier[13]_' "$out/stdout" || fail 'tiers without a model are shown'
total=$(grep -Eo '"total_bytes":[0-9]+' "$out/stdout" | grep -Eo '[0-9]+')
expect 0 "$strata" plan -t 1 "${service[@]}" --memory-limit "$total"
expect 4 "$strata" plan -t 1 "${service[@]}" --memory-limit $((total - 1))
says 'all of it: 1.8 GB, above the budget of 1.8 GB'
expect 4 "$strata" plan -t 1 --tier3 "$tiny" --ctx 256 --sessions 3000
says 'tier3_reasoner/context: [0-9.]+ GB, above its limit of 200.0 MB'
expect 2 "$strata" plan "$tiny" --tier1 "$bert"
says 'MODEL, or models of tiers and a store: one of both'
expect 1 "$strata" plan --tier1 absent.gguf
expect 1 "$strata" plan --tier1 "$bert" --facts "$out/absent"

# A limit that the model does not fit into: the same text, with layers on disk.
expect 0 "$strata" generate -m "$tiny" -p 'a b c' -n 20 --ignore-eos -q --ctx 32
cp "$out/stdout" "$out/wanted"
export STRATA_HOME=$out/home
expect 0 "$strata" generate -m "$tiny" -p 'a b c' -n 20 --ignore-eos -v --ctx 32 --memory-limit 1MB
cmp -s "$out/stdout" "$out/wanted" || fail 'a memory limit changes the text'
says 'layer 0 moved, host to disk: host: -[0-9]+ MB left of 1, '
expect 2 "$strata" generate -m "$tiny" -p a --memory-limit 0
says "'0' is no size"
