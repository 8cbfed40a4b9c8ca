#!/usr/bin/env python3
"""test_cached_facts.py STRATA LIBRARY MODEL: a small store, measured, and questions replayed."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"
COUNT = 40

strata, library, model = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    store, graph, queries, out = (Path(folder) / n for n in ("kg", "g.nt", "q.jsonl", "out.json"))
    labels = [f'<u:{i}> {LABEL} "river number {i}" .\n' for i in range(COUNT)]
    lines = labels + [f'<u:{i}> <u:length> "{i}" .\n' for i in range(COUNT)]
    graph.write_text("".join(lines), encoding="utf-8")
    rows = [{"entity": f"river number {i}", "predicate": "length"} for i in range(COUNT)]
    rows += [{"entity": f"rivr number {i}", "predicate": "length"} for i in range(COUNT)]
    rows += [{"question": "which is no query of names"}]
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    subprocess.run(
        [strata, "facts", "import", store, graph, "--embed-model", model],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    bench = Path(__file__).with_name("cached_facts.py")
    command = [sys.executable, "-B", bench, store, model, queries, "--library", library]
    printed = subprocess.run(
        [*command, "--json", out], check=True, capture_output=True, text=True
    ).stdout
    results = json.loads(out.read_text(encoding="utf-8"))
    assert "p95 us" in printed, printed
    assert {"none", "memory", "lmdb", "disk"} == set(results["tier 0"]), results
    assert results["tier 0"]["none"]["n"] == 3 * COUNT, results
    assert results["exact, missing"]["disk"]["n"] == 3 * COUNT, results
    replay = [sys.executable, "-B", bench.with_name("replay_facts.py"), store, model, graph]
    replay += ["-n", "1200", "-d", str(COUNT), "--library", library, "--json", out]
    subprocess.run(replay, check=True, stdout=subprocess.DEVNULL)
    results = json.loads(out.read_text(encoding="utf-8"))
    assert results["oracle"] > 0.9 and sum(results["hits"].values()) > 500, results
    assert not (store / "cache").exists()
print("passed")
