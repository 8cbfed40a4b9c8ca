#!/usr/bin/env bash
# The command facts: import, index, ask, export, delete, stats, optimise; options, refused lines,
# interruptions, vectors and other names, the reference graph.
source "$(dirname "$0")/cli_checks.sh"
store=$out/kg
integer='<http://www.w3.org/2001/XMLSchema#integer>'
label='<http://www.w3.org/2000/01/rdf-schema#label>'
cat >"$out/small.nt" <<END
<u:pt> $label "Portugal"@en .
<u:pt> <u:capital> <u:lis> .
<u:lis> $label "Lisbon" .
<u:capital> $label "capital" .
<u:lis> <u:people> "504718"^^$integer .
<u:lis> <u:note> "a\u0000b\n" .
_:x <u:in> <u:pt> .
END

# Wrong usage.
expect 2 "$strata" facts
for action in import index ask export delete stats optimise; do
    expect 2 "$strata" facts $action
    says "$action: STORE is missing"
done
expect 2 "$strata" facts find "$store"
says "'find' is none of import, index, ask, export, delete, stats, optimise"
expect 2 "$strata" facts import "$store"
says 'import: FILE is missing'
expect 2 "$strata" facts export "$store" x
says "export: unexpected argument 'x'"
expect 2 "$strata" facts index "$store" x
says "index: unexpected argument 'x'"
for words in 'import --entity x' 'import --limit 5' 'import --check' 'ask --strict' \
    'ask --restart' 'ask --check' 'export --object x' 'export --offset 1' 'export --strict' \
    'delete --restart' 'delete --limit 1' 'delete --deadline-ms 1' 'stats --predicate x' \
    'stats --restart' 'import --max-tier 0' 'import --explain' 'index --entity x' \
    'index --no-vectors' 'index --strict' 'index --max-tier 0' 'ask --no-vectors' \
    'export --embed-model x' 'export --explain' 'delete --max-tier 0' 'delete --no-vectors' \
    'delete --embed-model x' 'stats --embed-model x' 'ask --memory' 'export --memory' \
    'stats --lm x' 'import --no-cache' 'stats --no-cache' 'optimise --no-cache' \
    'optimise --limit 1'; do
    # shellcheck disable=SC2086 # an action and its options
    set -- $words
    expect 2 "$strata" facts "$1" "$store" "$out/small.nt" "${@:2}"
    says "(takes no $2|unexpected argument)"
    expect 2 "$strata" facts "$1" "$store" "${@:2}"
done
for number in -1 x 1.5 9007199254740994; do
    expect 2 "$strata" facts ask "$store" --entity x --limit $number
done
expect 2 "$strata" facts ask "$store" --entity x --deadline-ms -1
for tier in -1 4 x; do
    expect 2 "$strata" facts ask "$store" --entity x --max-tier $tier
done
[ ! -e "$store" ] || fail 'wrong usage makes a store'

# A store is made by import only.
for action in index 'ask --entity x' export 'delete --entity x' stats optimise; do
    # shellcheck disable=SC2086
    set -- $action
    expect 1 "$strata" facts "$1" "$store" "${@:2}"
    says "$store: no store of facts; strata facts import makes one"
done
[ ! -e "$store" ] || fail 'asking makes a store'

# import
expect 0 "$strata" facts import --no-vectors "$store" "$out/small.nt"
prints "^$out/small.nt: 7 statements, 7 triples added, 0 refused, " \
    '[0-9.]+ s \([0-9]+ statements/s\)$'
[ ! -s "$out/stderr" ] || fail "import says: $(cat "$out/stderr")"
expect 0 "$strata" facts import --no-vectors "$store" "$out/small.nt" --json
prints "^\{\"files\":\[\{\"file\":\"$out/small.nt\",\"statements\":7,\"added\":0,\"refused\":0," \
    '"resumed":0,"ms":[0-9.]+\}\],"vectors":0,"vectors_ms":0\.0\}$'
gzip -c "$out/small.nt" >"$out/small.nt.gz"
printf '@prefix : <u:> .\n:fr :capital :par ; a :country.\n' >"$out/more.ttl"
expect 0 "$strata" facts import --no-vectors "$out/two" "$out/small.nt.gz" "$out/more.ttl"
lines 2
prints "more.ttl: 2 statements, 2 triples added"

# Lines that are refused.
for n in $(seq 30); do
    echo "<u:bad> <u:n> $n ."
    echo "<u:good> <u:n> \"$n\" ."
done >"$out/bad.nt"
expect 0 "$strata" facts import --no-vectors "$out/bad" "$out/bad.nt"
prints ': 30 statements, 30 triples added, 30 refused,'
says "^$out/bad.nt:1:15: expected: "
[ "$(wc -l <"$out/stderr")" = 21 ] || fail "$(wc -l <"$out/stderr") lines of refusals"
says 'more such lines are only counted; -v shows all'
expect 0 "$strata" facts import --no-vectors "$out/bad" "$out/bad.nt" -v
[ "$(grep -c "^$out/bad.nt:[0-9]*:15: " "$out/stderr")" = 30 ] || fail '-v does not show all'
expect 0 "$strata" facts import --no-vectors "$out/bad" "$out/bad.nt" --json
prints '"statements":30,"added":0,"refused":30'
expect 3 "$strata" facts import --no-vectors "$out/strict" "$out/bad.nt" "$out/small.nt" --strict
[ "$(wc -l <"$out/stderr")" = 1 ] || fail 'a strict refusal takes several lines'
says "^strata: $out/bad.nt:1:15: expected: "
expect 0 "$strata" facts stats "$out/strict"
prints '^triples +0$'
expect 0 "$strata" facts import --no-vectors "$out/strict" "$out/small.nt" --strict --restart
prints '7 triples added'
printf '<u:a> <u:b> "\033[1m\r" .\n<u:\033[1m> x\n' >"$out/control.nt"
expect 0 "$strata" facts import --no-vectors "$out/strict" "$out/control.nt"
grep -q $'\033' "$out/stdout" "$out/stderr" && fail 'control characters reach the terminal'
head -c 40 "$out/small.nt.gz" >"$out/cut.nt.gz"
expect 3 "$strata" facts import --no-vectors "$store" "$out/cut.nt.gz"
says 'cut.nt.gz:40: compressed data: the file ends early'
expect 1 "$strata" facts import --no-vectors "$store" "$out/absent.nt"
says 'absent.nt: No such file'
expect 1 "$strata" facts import --no-vectors "$store" "$out"
says 'no plain file'
expect 1 "$strata" facts import --no-vectors "$out/small.nt" "$out/small.nt"

# ask
expect 0 "$strata" facts ask "$store" --entity ' PORTUGAL' --predicate Capital
prints '^Portugal \| capital \| Lisbon$'
prints '^1 fact found exactly, [0-9.]+ ms$'
expect 0 "$strata" facts ask "$store" --entity Portugal --predicate capital --json
prints '^\{"facts":\[\{"s":"u:pt","p":"u:capital","o":"u:lis","score":1.0,' \
    '"ids":\[[0-9]+,[0-9]+,[0-9]+\],"labels":\{"s":"Portugal","p":"capital","o":"Lisbon"\}\}\],' \
    '"tier":0,"latency_ms":[0-9.e-]+,"complete":true\}$'
expect 0 "$strata" facts ask "$store" --object 504718.0 --json
prints '"o":"504718","score":1.0,.*"datatype":"http://www.w3.org/2001/XMLSchema#integer"'
expect 0 "$strata" facts ask "$store" --object '"Portugal"@en' --json
prints '"o":"Portugal",.*"language":"en"'
expect 0 "$strata" facts ask "$store" --predicate '<u:note>' --json
prints '"o":"a\\u0000b\\n"'
expect 0 "$strata" facts ask "$store" --object u:pt --json
prints '"s":"_:b[0-9a-f]{32}"'
expect 0 "$strata" facts ask "$store" --entity nothing
prints '^0 facts, '
expect 0 "$strata" facts ask "$store" --entity nothing --json
prints '^\{"facts":\[\],"tier":-1,'
expect 0 "$strata" facts ask "$store" --predicate "$label" --limit 2
lines 3
prints '^2 facts found exactly, [0-9.]+ ms; there are more: --limit, --offset$'
expect 0 "$strata" facts ask "$store" --predicate "$label" --limit 2 --offset 2 --json
prints '"complete":true'
[ "$(grep -o '"score"' "$out/stdout" | wc -l)" = 1 ] || fail 'not one fact behind two'
expect 5 "$strata" facts ask "$store" --predicate "$label" --deadline-ms 0.0000001
prints 'the deadline came before all were found'
expect 5 "$strata" facts ask "$store" --predicate "$label" --deadline-ms 0.0000001 --json
prints '"complete":false'
expect 0 "$strata" facts ask "$store" --predicate "$label" --deadline-ms 60000 --limit 0
lines 4
for entity in '<u:pt' '<pt>' '_:' '"x'; do
    expect 2 "$strata" facts ask "$store" --entity "$entity"
    says "subject '$entity': "
done
# Questions are asked alone, and need vectors.
expect 0 "$strata" facts ask "$store" 'What is the capital?'
prints '^0 facts, '
says 'questions find nothing without vectors: make them with strata facts index'
expect 0 "$strata" facts ask "$store" 'What is the capital?' -q --json
prints '^\{"facts":\[\],"tier":-1,"latency_ms":[0-9.e-]+,"complete":true'
grep -q 'questions find' "$out/stderr" && fail 'a message with -q'
expect 0 "$strata" facts ask "$store" 'What is the capital?' --max-tier 2
[ ! -s "$out/stderr" ] || fail "tier 2 is told of vectors: $(cat "$out/stderr")"
for option in entity predicate object; do
    expect 2 "$strata" facts ask "$store" 'What is the capital?' --$option x
    says 'a question is asked alone, without --entity, --predicate and --object'
done
expect 2 "$strata" facts ask "$store" 'What is' 'the capital?'
says "ask: unexpected argument 'the capital\?'"

# What is kept, and given again.
expect 0 "$strata" facts import --no-vectors "$out/kept" "$out/small.nt"
expect 0 "$strata" facts stats "$out/kept"
! grep -q CACHES "$out/stdout" || fail 'a store without caches shows some'
expect 0 "$strata" facts ask "$out/kept" --entity Portugl --predicate capital --no-cache
[ ! -e "$out/kept/cache" ] || fail '--no-cache makes caches'
for _ in 1 2 3; do
    yes '{"entity":"Portugl","predicate":"capital"}' | head -500 >"$out/queries"
    expect 0 "$strata" facts ask "$out/kept" <"$out/queries"
    lines 500
    [ "$(sed 's/"latency_ms":[^,]*,//' "$out/stdout" | sort -u | wc -l)" = 1 ] ||
        fail 'kept answers differ'
    prints '^\{"facts":\[\{"s":"u:pt","p":"u:capital","o":"u:lis","score":0'
done
expect 0 "$strata" facts stats "$out/kept"
prints '^CACHES +HITS +VALUES +USED +LIMIT$'
prints '^memory +[0-9]+ +[0-9]+ .* 16.8 MB$'
prints '^lmdb +[0-9]+ +[1-9][0-9]* .* 67.1 MB$'
prints '^misses +[1-9][0-9]* \([1-9][0-9.]+ % of what was asked for was there\)$'
expect 0 "$strata" facts stats "$out/kept" --json
prints '"caches":\{"levels":\[\{"name":"memory","used":true,"hits":[1-9][0-9]*,"values":'
expect 0 "$strata" facts optimise "$out/kept"
prints '^0 stale values dropped, [0-9]+ promoted, 0 demoted$'
expect 0 "$strata" facts import --no-vectors "$out/kept" "$out/more.ttl"
expect 0 "$strata" facts optimise "$out/kept" --json
prints '^\{"stale":[1-9][0-9]*,"promoted":0,"demoted":0,"predicted_bytes":[0-9]+,"freed_bytes":'

# JSON lines: an answer for each line, in order; refused ones in their place.
printf '%s\n' '{"entity":"portugal","predicate":"capital","id":"a"}' 'bad' '{"entity":1}' \
    '{"id":3,"entity":"a\u0000"}' '{}' '{"id":"q","question":"x"}' '{"object":"<x"}' '[1]' \
    '{"id":[9],"object":"Lisbon","extra":1}' >"$out/queries"
printf '{"entity":"none"}' >>"$out/queries"
expect 1 "$strata" facts ask "$store" <"$out/queries"
lines 10
grep -o '^{"[a-z]*"' "$out/stdout" | tr -d '\n' >"$out/kinds"
errors=$(printf '{"error"%.0s' 1 2 3 4)
found='{"facts"'
[ "$(cat "$out/kinds")" = "$found$errors$found{\"error\"{\"error\"$found$found" ] ||
    fail "kinds of lines: $(cat "$out/kinds")"
prints '^\{"facts":\[\{"s":"u:pt",.*"complete":true,"id":"a"\}$'
prints '"code":"E_INVALID","message":"not JSON: .*","line":2'
prints '"code":"E_INVALID","message":"entity: not a string","line":3'
prints '"message":"entity: a name holds no U\+0000","line":4'
prints '"message":"question, entity, predicate and object are missing: one is needed","line":5'
prints '^\{"facts":\[\],"tier":-1,"latency_ms":[0-9.e-]+,"complete":true.*,"id":"q"\}$'
[ "$(grep -c 'questions find nothing without vectors' "$out/stderr")" = 1 ] ||
    fail "of vectors is said: $(cat "$out/stderr")"
prints '"code":"E_INVALID","message":"object .<x.: .*","line":7'
prints '"complete":true,"id":\[9\]\}$'
printf '%s\n' '{"question":"x","entity":"y"}' '{"question":7}' '{"question":"a\u0000"}' \
    '{"question":""}' >"$out/questions"
expect 1 "$strata" facts ask "$store" <"$out/questions"
prints '"code":"E_INVALID","message":"query->question: it is asked alone, .*","line":1'
prints '"message":"question: not a string","line":2'
prints '"message":"question: a name holds no U\+0000","line":3'
prints '^\{"facts":\[\],"tier":-1'
expect 0 "$strata" facts ask "$store" --limit 1 \
    <<<'{"predicate":"http://www.w3.org/2000/01/rdf-schema#label"}'
prints '"complete":false\}$'

# export
expect 0 "$strata" facts export "$store"
lines 7
sed 's/^_:b[0-9a-f]*/_:x/' "$out/stdout" | sort >"$out/exported"
sort "$out/small.nt" | cmp -s - "$out/exported" || fail 'export is not what was imported'
expect 0 "$strata" facts export "$store" -q
cp "$out/stdout" "$out/export.nt"
expect 0 "$strata" facts import --no-vectors "$out/again" "$out/export.nt"
prints '7 triples added, 0 refused'
"$strata" facts export "$store" >/dev/full 2>"$out/stderr"
[ $? = 1 ] || fail 'export > /dev/full'
says 'could not be written: No space left'
seq 60000 | sed 's/.*/<u:&> <u:p> "a text that fills the pipe, and more than a buffer" ./' \
    >"$out/many.nt"
expect 0 "$strata" facts import --no-vectors "$out/pipe" "$out/many.nt"
"$strata" facts export "$out/pipe" 2>"$out/stderr" | head -1 >/dev/null
status=${PIPESTATUS[0]}
[ "$status" = 1 ] || fail "export to a closed pipe: status $status"
[ ! -s "$out/stderr" ] || fail "a closed pipe is said: $(cat "$out/stderr")"

# delete
expect 2 "$strata" facts delete "$store"
says 'delete: give files of triples, or a pattern'
expect 2 "$strata" facts delete "$store" "$out/small.nt" --entity x
expect 2 "$strata" facts delete "$store" --entity x --strict
expect 0 "$strata" facts delete "$store" --entity Lisbon --predicate u:people
prints '^1 triple removed$'
expect 0 "$strata" facts delete "$store" --predicate nothing --json
prints '^\{"removed":0\}$'
expect 0 "$strata" facts delete "$store" "$out/small.nt"
prints ': 7 statements, 5 triples removed, 0 refused' # the blank node is the file's
expect 3 "$strata" facts delete "$store" "$out/bad.nt" --strict
expect 0 "$strata" facts delete "$store" "$out/export.nt" --json
prints '"statements":7,"removed":1,'
expect 0 "$strata" facts stats "$store" --json
prints '^\{"triples":0,"subjects":0,"predicates":0,"objects":0,"terms":[0-9]+,' \
    '"file_bytes":[0-9]+,"free_bytes":[0-9]+,"checked":false,"caches":\{'

# stats
expect 0 "$strata" facts import --no-vectors "$store" "$out/small.nt"
expect 0 "$strata" facts stats "$store" --check
prints '^triples +7$'
prints '^subjects +4$'
prints '^predicates +5$'
prints '^on disk +[0-9.]+ [kM]?B'
prints '^check +all indices agree$'
expect 0 "$strata" facts stats "$store" --check --json
prints '"checked":true'
# No damage goes unseen: what LMDB does not see, the check does, or the command says the place.
cp -r "$store" "$out/damaged"
python3 - "$out/damaged/data.mdb" <<'END'
import sys
path = sys.argv[1]
data = bytearray(open(path, "rb").read())
at = data.find(b"Ilis") if b"Ilis" in data else data.find(b"SLisbon")
data[at + 1] ^= 1
open(path, "wb").write(data)
END
expect 1 "$strata" facts stats "$out/damaged" --check
says "$out/damaged: (ids|terms|values|grams): "

# Progress only on a terminal.
if command -v script >/dev/null; then
    script -qec "'$strata' facts import --no-vectors '$out/terminal' '$out/many.nt'" /dev/null \
        >"$out/stdout" </dev/null
    grep -q $'many.nt \[#* *\]' "$out/stdout" || fail 'no progress on a terminal'
    script -qec "'$strata' facts import --no-vectors '$out/terminal' '$out/many.nt' -q" /dev/null \
        >"$out/stdout" </dev/null
    grep -q $'many.nt \[#* *\]' "$out/stdout" && fail 'progress with -q'
fi

# A store that another process uses; control characters of its name.
mkfifo "$out/in"
"$strata" facts ask "$store" <"$out/in" >"$out/answers" &
reader=$!
exec 9>"$out/in"
echo '{"entity":"u:new"}' >&9
for _ in $(seq 200); do
    [ -s "$out/answers" ] && break
    sleep 0.05
done
printf '<u:new> <u:p> <u:o> .\n' >"$out/new.nt"
expect 0 "$strata" facts import --no-vectors "$store" "$out/new.nt"
echo '{"entity":"u:new"}' >&9
exec 9>&-
wait $reader || fail 'ask failed beside an import'
[ "$(grep -c '"tier":0' "$out/answers")" = 1 ] ||
    fail "a reader does not see what is new: $(cat "$out/answers")"
expect 1 "$strata" facts stats "$out/"$'\033[1m'
grep -q $'\033' "$out/stderr" && fail 'control characters of a name reach the terminal'

# Ctrl-C: what was committed stays, the next import goes on.  The file is more than a batch
# (store_batch.h); on a busy host its end may come before the interruption: then once more.
awk 'BEGIN { for (i = 0; i < 4000000; i++)
    printf "<u:%d> <u:p> <u:%d> .\n", i % 1400, i / 1400 }' >"$out/long.nt"
for _ in 1 2 3; do
    rm -rf "$out/long"
    "$strata" facts import --no-vectors "$out/long" "$out/long.nt" >"$out/stdout" 2>"$out/stderr" &
    import=$!
    for _ in $(seq 3000); do # until the first batch is there
        "$strata" facts stats "$out/long" --json 2>/dev/null | grep -q '"triples":[1-9]' && break
        sleep 0.02
    done
    kill -INT $import 2>/dev/null
    wait $import
    status=$?
    [ $status = 0 ] || break
done
[ $status = 130 ] || fail "interrupted import: status $status"
expect 0 "$strata" facts import --no-vectors "$out/long" "$out/long.nt"
prints ', 2097152 read before,'
expect 0 "$strata" facts stats "$out/long" --check
prints '^triples +4000000$'

# A model that is not there, or makes no vectors: the triples are there all the same.
expect 1 "$strata" facts import "$out/absent" "$out/small.nt"
prints ': 7 statements, 7 triples added'
says 'minilm'
says 'the triples are imported; .*--no-vectors, .*strata facts index later'
expect 0 "$strata" facts stats "$out/absent"
prints '^triples +7$'
expect 1 "$strata" facts index "$out/absent"
grep -q 'no-vectors' "$out/stderr" && fail 'index says what is for import'
expect 1 "$strata" facts import "$out/absent" "$out/small.nt" --embed-model "$out/nonsense"
says 'nonsense'
expect 3 "$strata" facts index "$out/absent" --embed-model "$out/small.nt"
expect 2 "$strata" facts index "$out/absent" --embed-model "$tiny"
says 'makes no sentence vectors'
grep -q 'no-vectors' "$out/stderr" && fail 'index says what is for import'

# Other names, by spelling: exact ones come first, and --max-tier 0 is for these alone.
expect 0 "$strata" facts ask "$out/absent" --entity Portugall --predicate capital
prints '^Portugal \| capital \| Lisbon   \(0\.[0-9]{3}, spelling\)$'
prints '^1 fact by another name, '
says 'the store has no vectors: .*strata facts index makes them'
expect 0 "$strata" facts ask "$out/absent" --entity Portugall --predicate capital -q --json
prints '"score":0\.[0-9]+,.*"why":"spelling"\}\],"tier":1,'
[ ! -s "$out/stderr" ] || fail "-q says: $(cat "$out/stderr")"
grep -q candidates "$out/stdout" && fail 'candidates without --explain'
expect 0 "$strata" facts ask "$out/absent" --entity Portugall --predicate capital --max-tier 0
prints '^0 facts, '
[ ! -s "$out/stderr" ] || fail "--max-tier 0 says: $(cat "$out/stderr")"
for words in '--entity Portugal --predicate capital' '--entity Portugall' \
    '--entity Portugall --predicate capital --object x'; do
    # shellcheck disable=SC2086
    expect 0 "$strata" facts ask "$out/absent" $words
    [ ! -s "$out/stderr" ] || fail "what needs no vectors says: $(cat "$out/stderr")"
done
expect 0 "$strata" facts ask "$out/absent" --entity Portugall --predicate capital --explain
prints '^ 0\.[0-9]{3}  Portugal, spelling 0\.[0-9]{2}'
expect 0 "$strata" facts ask "$out/absent" --entity Portugall --predicate capital --explain --json
prints '"candidates":\[\{"entity":"u:pt","label":"Portugal","score":0\.[0-9]+,' \
    '"evidence":\{"spelling":0\.[0-9]+\}\}\]\}$'
expect 0 "$strata" facts ask "$out/absent" --entity Portugal --predicate capital --explain --json
prints '"tier":0,.*"candidates":\[\]\}$'

# Vectors, by the small model of the tests.
bert=$source_dir/tests/data/tiny/bert.gguf
expect 0 "$strata" facts import "$out/vectors" "$out/small.nt" --embed-model "$bert"
prints '^7 vectors made, [0-9.]+ s$'
expect 0 "$strata" facts index "$out/vectors" --embed-model "$bert" --json
prints '^\{"vectors":0,"ms":[0-9.]+\}$'
printf '<u:new> %s "Newland" .\n<u:new> <u:about> "a land of cats and old dogs" .\n' "$label" \
    >"$out/new.nt"
expect 0 "$strata" facts import "$out/vectors" "$out/new.nt" --embed-model "$bert" --json
prints '"vectors":3,"vectors_ms":[0-9.]+\}$'
expect 0 "$strata" facts ask "$out/vectors" --entity Portugall --predicate capital --explain \
    --embed-model "$bert" --json
prints '"evidence":\{"spelling":[0-9.]+,"meaning":[0-9.]+\}'
[ ! -s "$out/stderr" ] || fail "ask with vectors says: $(cat "$out/stderr")"
# A phrase is expanded where it names no predicate; without a model that knows words, none is meant.
expect 0 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --explain --embed-model "$bert" --json
prints '"predicates":\[\{"predicate":"u:[a-z]+","label":("capital"|null),"reversed":(true|false),' \
    '"held":(true|false),"score":0\.[0-9]+,"evidence":\{"meaning":[-0-9.]+,"another.s meaning":'
expect 0 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --explain --embed-model "$bert"
prints '^ [01]\.[0-9]{3}  (is )?capital( of)?, meaning '
prints '^[0-9]+ facts?( by other words)?, '
expect 0 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --max-tier 1 --embed-model "$bert"
prints '^0 facts, '
# A language model is asked too; without an answer by others it is not opened.
expect 0 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --explain --embed-model "$bert" --lm "$tiny" --json
prints '"unsaid":[01]\.[0-9]+\}'
prints '"lm":"asked"\}$'
expect 0 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --explain --embed-model "$bert" --lm "$tiny"
prints '^language model: asked$'
printf '{"entity":"Portugal","predicate":"%s"}\n' capital 'the capital city' >"$out/queries"
expect 0 "$strata" facts ask "$out/vectors" --embed-model "$bert" --lm "$tiny" <"$out/queries"
lines 2
expect 0 "$strata" facts ask "$out/vectors" --entity Portugal --predicate capital --lm "$out/absent"
expect 1 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --embed-model "$bert" --lm "$out/absent"
expect 1 "$strata" facts ask "$out/vectors" --entity Portugal --predicate 'the capital city' \
    --embed-model "$bert" --lm "$bert"
says 'generates no text'
# Questions: what was considered; what is meant, a model that knows no words does not say.
question='Which capital has Portugal?'
chain='\{"words":"Portugal","start":"u:pt","label":"Portugal","hops":\[\{"predicate":"u:capital",'
expect 0 "$strata" facts ask "$out/vectors" "$question" --explain --embed-model "$bert" --json
prints '"chains":\[.*'"$chain"'"label":"capital","reversed":false\}\],"ends":1,"score":-?[0-9.]+'
prints '"meaning":\{"score":[0-9.e-]+,"least":0\.[0-9]+,"evidence":\{"score":[0-9.]+,' \
    '"imagined":[-0-9.]+,"bare":[0-9.]+,"name":0\.[0-9]+,"least":[-0-9.]+,"hops":[1-5]\.0\}\}'
expect 0 "$strata" facts ask "$out/vectors" "$question" --explain --embed-model "$bert"
prints '^ *-?[0-9.]+  Portugal -> capital \(1\)$'
prints '^the first one is meant: [01]\.[0-9]{3} \(0\.[0-9]{3} is needed\), score [0-9.]+, imagined '
prints '^([0-9]+ answers?; )?[0-9]+ facts?( by a question)?, [0-9.]+ ms$'
expect 0 "$strata" facts ask "$out/vectors" 'Which zodiac?' --explain --embed-model "$bert"
prints '^0 facts, '
expect 5 "$strata" facts ask "$out/vectors" "$question" --no-cache --deadline-ms 1e-7 \
    --embed-model "$bert"
prints 'the deadline came before all were found'
printf '%s\n' '{"question":"'"$question"'","id":1}' '{"entity":"Portugal","predicate":"capital"}' \
    '{"question":"Which zodiac?","id":3}' '{"question":"x","object":"y"}' >"$out/questions"
expect 1 "$strata" facts ask "$out/vectors" --embed-model "$bert" --explain <"$out/questions"
lines 4
prints '"chains":.*"id":1\}$'
prints '"o":"u:lis".*"tier":0'
prints '^\{"facts":\[\],"tier":-1,.*"complete":true.*"id":3\}$'
prints '"message":"query->question: it is asked alone.*"line":4'
# What tier 1 has in memory.
expect 0 "$strata" facts stats "$out/vectors" --memory --embed-model "$bert"
prints '^triples '
prints '^MEMORY OF TIER 1 +USED +LIMIT$'
prints '^tier1_linker/embedding_cache\(entities\) +0 bytes +40\.0 MB$'
prints '^tier1_linker/result_cache\(entities\) +0 bytes +20\.0 MB$'
prints '^[0-9.]+ (bytes|kB) of vectors are mapped \(base_indices\), of which '
expect 0 "$strata" facts stats "$out/vectors" --memory --embed-model "$bert" --json
prints '"memory":\{"vectors":5,"mapped_bytes":[1-9][0-9]*,"resident_bytes":[0-9]+,' \
    '"sketch_bytes":0,' \
    '"cache_limit_bytes":20000000,"components":\[\{"name":"base_indices",'
expect 1 "$strata" facts stats "$store" --memory
says 'strata facts index makes them'
# An ask that waits for its user: its threads, and what it is charged with.
ask_and_wait() {
    "$strata" facts ask "$out/vectors" --embed-model "$bert" "$@" <"$out/in" >"$out/answers" &
    reader=$!
    exec 9>"$out/in"
    echo '{"entity":"Portugall","predicate":"capital"}' >&9
    for _ in $(seq 200); do
        [ -s "$out/answers" ] && break
        sleep 0.05
    done
}
cores=$("$strata" topology --json | grep -Eo '"cores":[0-9]+,"pus"' | head -n 1 | tr -dc '0-9')
quota=$("$strata" topology --json | grep -Eo '"cpu_quota":[0-9.]+')
half=$((cores > 1 ? cores / 2 : 1))
ask_and_wait
expect 0 "$strata" top --once --json
[ "$quota" != '"cpu_quota":0.0' ] || prints '"pid":'"$reader"',.*"threads":'"$half",
expect 0 "$strata" memory --pid "$reader" --json
prints '"component":"tier1_linker/result_cache\(entities\)","model":"","purpose":"mentions",' \
    '"device":"host","mapped":false,"count":1,"bytes":[1-9]'
prints '"name":"tier1_linker/model_weights\(bert\)","limit_bytes":null,"used_bytes":[1-9]'
exec 9>&-
wait $reader || fail 'ask failed at its end'
ask_and_wait -t 3
expect 0 "$strata" top --once --json
prints '"pid":'"$reader"',.*"threads":3,'
exec 9>&-
wait $reader || fail 'ask failed at its end'
# Lines together are answered as one by one.
for line in Portugall Portugal Lisbn '' Newlnd Portugall; do
    printf '{"entity":"%s","predicate":"capital","id":"%s"}\n' "$line" "$line"
done >"$out/queries"
printf '{"entity":"x","predicate":"\\"x"}\n{"entity":"Newlnd","predicate":"about"}\n{"id":1}\n' \
    >>"$out/queries"
expect 1 "$strata" facts ask "$out/vectors" --embed-model "$bert" <"$out/queries"
lines 9
sed 's/"latency_ms":[^,]*,//; s/\("score":0\.[0-9]\{3\}\)[0-9]*/\1/' "$out/stdout" >"$out/together"
expect 1 "$strata" facts ask "$out/vectors" --embed-model "$bert" --deadline-ms 1e6 <"$out/queries"
sed 's/"latency_ms":[^,]*,//; s/\("score":0\.[0-9]\{3\}\)[0-9]*/\1/' "$out/stdout" >"$out/single"
cmp "$out/together" "$out/single" || fail 'lines together are answered otherwise'
grep -q '"line":7}' "$out/together" || fail "the refused line: $(cat "$out/together")"
# Without the model all questions that need it fail, the others do not.
expect 1 "$strata" facts ask "$out/vectors" --entity Portugall --predicate capital
says 'minilm'
printf '{"entity":"%s","predicate":"capital"}\n' Portugall Portugal Portugall >"$out/queries"
expect 1 "$strata" facts ask "$out/vectors" <"$out/queries"
grep -o '^{"[a-z]*"' "$out/stdout" | tr -d '\n' >"$out/kinds"
[ "$(cat "$out/kinds")" = '{"error"{"facts"{"error"' ] ||
    fail "without a model: $(cat "$out/kinds")"
expect 0 "$strata" facts ask "$out/vectors" --embed-model "$bert" <"$out/queries"
[ "$(grep -o '"tier":[01]' "$out/stdout" | tr -d '\n')" = '"tier":1"tier":0"tier":1' ] ||
    fail "tiers of lines: $(cat "$out/stdout")"
expect 0 "$strata" facts ask "$out/vectors" --max-tier 0 <"$out/queries"
expect 2 "$strata" facts ask "$out/vectors" --entity Portugall --predicate capital \
    --embed-model "$tiny"
says 'strata facts index'

# The reference graph.
if [ ! -r "$shared/facts/kg.nt.zst" ]; then
    echo "$shared/facts is absent: the reference graph is not tried" >&2
else
    expect 0 "$strata" facts import --no-vectors "$out/graph" "$shared/facts/kg.nt.zst"
    prints ': 1501493 statements, 1501493 triples added, 0 refused'
    grep '"kind":"exact"' "$shared/facts/dev-queries.jsonl" >"$out/exact.jsonl"
    python3 "$shared/facts/score.py" --inputs "$out/exact.jsonl" >"$out/inputs.jsonl"
    expect 0 "$strata" facts ask "$out/graph" <"$out/inputs.jsonl"
    lines "$(wc -l <"$out/exact.jsonl")"
    cp "$out/stdout" "$out/answers.jsonl"
    python3 "$shared/facts/score.py" --json "$out/exact.jsonl" "$out/answers.jsonl" \
        >"$out/score.json" ||
        fail 'score.py failed'
    grep -q '"exact": {"n": 80, "success": 1.0, "strict": 1.0, "p_at_1": 1.0}' "$out/score.json" ||
        fail "the score of exact queries: $(head -c 300 "$out/score.json")"
fi
finish
