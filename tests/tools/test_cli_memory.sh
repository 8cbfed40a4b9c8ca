#!/usr/bin/env bash
# strata memory, strata top, --config and --event-log: what they print, budgets that refuse, files
# that are wrong, and processes that run, are killed, and are asked to give memory back.
source "$(dirname "$0")/cli_checks.sh"
bert=$source_dir/tests/data/tiny/bert.gguf
for file in "$tiny" "$bert"; do
    [ -r "$file" ] || { echo "$file is absent" >&2; exit 1; }
done

# The ledger, without and with a model.
expect 0 "$strata" memory
prints '^total .* 8\.0 GB +- +-$'
prints '^  tier1_linker +- +- +150\.0 MB +- +0 bytes$'
prints '^    model_weights\(minilm\) +- +- +90\.0 MB '
expect 0 "$strata" memory --json --memory-limit 3GB
prints '"limit_bytes":3000000000,"aim_bytes":2250000000,'
prints '\{"name":"tier3_reasoner","limit_bytes":4000000000,"used_bytes":0,"peak_bytes":0,' \
    '"device_limit_bytes":3500000000,"device_used_bytes":0\}'
expect 0 "$strata" memory -m "$tiny" -t 1 --json
prints '"name":"model_weights\(llama256-Q4_1\)","limit_bytes":null,"used_bytes":[0-9]{6,}'
prints '"component":"model_weights\(llama256-Q4_1\)","model":"llama256-Q4_1",' \
    '"purpose":"weights in files","device":"host","mapped":true,'
prints '"purpose":"KV cache"'
expect 0 "$strata" memory -m "$bert" -t 1 --optimise
prints '^unload an idle model +[0-9.]+ [kM]B +[0-9.]+ [kM]B .* bert$'
expect 2 "$strata" memory -m "$tiny" --pid 1
expect 1 "$strata" memory --pid 1
says 'process 1: no strata of yours with a model answers there; see: strata top --once'

# The file of --config: options, those of the command line first, and budgets.
cat >"$out/config" <<'END'
{"memory-limit": "2GB", "threads": 1, "max-tokens": 3, "no-pack-cache": false,
 "budgets": {"core": "1GB", "context(llama256-Q4_1)": "20kB",
             "tier3_reasoner/context": {"device": "none", "lender": "tier2_expander"}}}
END
expect 0 "$strata" memory --config "$out/config" --json
prints '"limit_bytes":2000000000,'
prints '"name":"core","limit_bytes":1000000000,'
prints '"name":"tier3_reasoner/context","limit_bytes":200000000,'
expect 0 "$strata" memory --config "$out/config" --json --memory-limit 1GB
prints '"limit_bytes":1000000000,'
expect 4 "$strata" generate -m "$tiny" -p 'a b c' --config "$out/config"
says '^strata: KV cache of [0-9]+ positions: [0-9.]+ MB requested, 0\.0 MB available: ' \
    'the budget of context\(llama256-Q4_1\) is 0\.0 MB'
sed -i 's/20kB/20MB/' "$out/config"
expect 0 "$strata" generate -m "$tiny" -p 'a b c' --ignore-eos --json --config "$out/config"
prints '"new_tokens":3,'
expect 0 "$strata" generate -m "$tiny" -p 'a b c' --ignore-eos --json --config "$out/config" -n 5
prints '"new_tokens":5,'

# bad TEXT STATUS PATTERN: such a file is refused.
bad() {
    printf '%s' "$1" >"$out/bad"
    expect "$2" "$strata" memory --config "$out/bad"
    says "$3"
}
bad '{"threads": ' 3 'bad:1:[0-9]+: '
bad '[]' 3 'expected one JSON object'
bad '{"threads": 1, "threads": 2}' 3 'duplicate'
bad '{"thread": 1}' 3 'bad: "thread" is no common option'
bad '{"config": "x"}' 3 'is no common option'
bad '{"threads": "many"}' 2 "threads: 'many' is not a whole number"
bad '{"threads": true}' 3 'threads: expected a text or a number'
bad '{"no-pack-cache": "yes"}' 3 'no-pack-cache: expected true or false'
bad '{"compute": 8}' 3 'compute: expected a text'
bad '{"budgets": 1}' 3 'budgets: the value: not an object'
bad '{"budgets": {"core": "much"}}' 3 'budgets: core: no size'
bad '{"budgets": {"core": {"hosts": 1}}}' 3 'budgets: core: hosts'
bad '{"budgets": {"a/b/c": 1}}' 2 'component "a/b/c": must be'
bad '{"budgets": {"core": {"lender": "total"}}}' 2 'cannot borrow'

# Events: with a limit that the model does not fit into, a line for each move.
expect 0 "$strata" generate -m "$tiny" -p 'a b c' -n 4 --ctx 32 --ignore-eos --memory-limit 1MB -q \
    --event-log "$out/events"
python3 - "$out/events" <<'END' || fail 'the event log is not as documented'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
assert any(e["kind"] == "moved" and e["to"] == "disk" and e["bytes"] > 0 for e in events), events
assert [e["number"] for e in events] == list(range(1, len(events) + 1))
assert all(e["reason"] and e["time_ms"] > 1.6e12 for e in events)
END
expect 1 "$strata" generate -m "$tiny" -p a --event-log "$out/no/such/folder"
says 'No such file'

# A process that waits for its user, seen by the others.
expect 0 "$strata" top --once
prints '^no strata of yours runs'
mkfifo "$out/talk"
"$strata" embed -m "$bert" -t 1 <"$out/talk" >"$out/said" 2>&1 &
talk=$!
exec 3>"$out/talk"
for _ in $(seq 100); do
    "$strata" top --once --json | grep -q "\"pid\":$talk," && break
    sleep 0.1
done
expect 0 "$strata" top --once
prints "^$talk strata embed bert, 1 thread of "
prints '^  layers +cpu +#+ [34], '
prints '^  pressure +(calm|tight|critical)'
prints '^  memory +[0-9.]+ [kM]B charged of 8\.0 GB, '
expect 0 "$strata" top --once --json
prints '"processes":\[\{"pid":'"$talk"',"command":"embed",'
expect 0 "$strata" memory --pid "$talk" --optimise --json
prints '"what":"unload an idle model","about":"bert"'
expect 0 "$strata" top --once
prints '^  layers +disk '
echo '{"text": "the cat"}' >&3 # it still answers
for _ in $(seq 100); do
    grep -q '"tokens"' "$out/said" && break
    sleep 0.1
done
grep -q '"embedding":\[' "$out/said" || fail 'no answer after unloading'
kill -9 "$talk"
wait "$talk" 2>/dev/null
exec 3>&-
[ -S "$STRATA_HOME/run/$talk.sock" ] || fail 'no socket is left of a process that was killed'
expect 0 "$strata" top --once
prints '^no strata of yours runs'
[ -e "$STRATA_HOME/run/$talk.sock" ] && fail 'its socket stays'
[ "$(stat -c %a "$STRATA_HOME/run")" = 700 ] || fail 'others may see the sockets'

# Live: it goes on until it is interrupted.
timeout --preserve-status -s INT 1 "$strata" top --interval 0.2 --json >"$out/stdout"
[ "$(grep -c '^{"processes":\[\]}$' "$out/stdout")" -ge 3 ] || fail 'top --json does not go on'
expect 2 "$strata" top --interval 0
finish
