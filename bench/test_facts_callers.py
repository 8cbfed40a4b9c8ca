#!/usr/bin/env python3
"""test_facts_callers.py STRATA FACTS_CALLERS MODEL: figures of a small store."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STRATA, CALLERS, MODEL = (Path(path).resolve() for path in sys.argv[1:])
LABEL = "<http://www.w3.org/2000/01/rdf-schema#label>"


def main():
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = dict(os.environ, STRATA_HOME=str(home / "home"))
        lines = [f'<u:p> {LABEL} "owner" .']
        for i in range(20):
            lines.append(f'<u:n{i}> {LABEL} "the cat {i}" .')
            lines.append(f"<u:n{i}> <u:p> <u:n0> .")
        (home / "graph.nt").write_text("\n".join(lines) + "\n")
        store = str(home / "store")
        subprocess.run(
            [STRATA, "facts", "import", store, home / "graph.nt", "--embed-model", MODEL],
            check=True, env=environment, stdout=subprocess.DEVNULL,
        )
        asked = [("the cat 3", "owner"), ("a cat 3", "owner"), ("cats", "owner"),
                 ("the cat 5", "who has it"), ("a cat 5", "who has it")]
        queries = home / "queries.jsonl"
        queries.write_text("".join(
            json.dumps({"entity": entity, "predicate": predicate}) + "\n"
            for entity, predicate in asked))
        command = [CALLERS, store, MODEL, queries, "3", "1", "2"]
        figures = json.loads(subprocess.run(
            command, check=True, env=environment, capture_output=True, text=True).stdout)
        assert figures["threads"] == 1, figures
        assert figures["names"]["queries"] == 2, figures  # the first is found exactly
        assert figures["phrases"]["queries"] + figures["both"]["queries"] == 2, figures
        assert figures["names"]["one"]["callers"] == 1, figures
        assert figures["names"]["many"]["callers"] == 3, figures
        for rates in (figures["names"]["one"], figures["names"]["many"]):
            assert rates["per_s"] > 0 and 0 < rates["p50_ms"] <= rates["p95_ms"], figures
        bad = subprocess.run([*command, "1", "0"], env=environment, capture_output=True, text=True)
        assert bad.returncode == 2 and "usage" in bad.stderr, bad


main()
