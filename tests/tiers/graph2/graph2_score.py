#!/usr/bin/env python3
"""Score what `strata facts ask` answered to the queries of the second graph.

    graph2_score.py [--misses N] QUERIES ANSWERS

success: every expected fact, or its inverse, is among the first K, K = max(10, 2 x expected); of a
question every answer is subject or object of one of these; what has no answer has no fact.  p@1:
the first fact is a right one.  A query without a line was answered with nothing.
"""

import argparse
import json
from pathlib import Path

from graph2_graph import BASE, INVERSE


def read(path):
    return [json.loads(x) for x in Path(path).read_text(encoding="utf-8").splitlines() if x]


def term(text):
    """An IRI, or the text of a literal, however it is written."""
    text = str(text)
    if text.startswith("<") and text.endswith(">"):
        return text[1:-1]
    if text.startswith('"') and text.rfind('"') > 0:
        return text[1 : text.rfind('"')].replace('\\"', '"').replace("\\\\", "\\")
    return text


def triple(fact):
    return tuple(term(fact[x]) for x in "spo")


def judge(query, facts):
    """(success, first fact right, or None where nothing is expected) of an answer's facts."""
    if query["kind"].startswith("neg"):
        return not facts, None
    if query["tier"] == 3:
        wanted = [{a} for a in query["answers"]]
        found = [{f[0], f[2]} for f in facts]
    else:
        wanted = []
        for s, p, o in map(triple, query["expect"]):
            inverse = INVERSE.get(p[len(BASE) + len("rel/") :])
            wanted.append({(s, p, o)} | ({(o, BASE + "rel/" + inverse, s)} if inverse else set()))
        found = [{f} for f in facts]
    first = found[: max(10, 2 * len(wanted))]
    success = all(any(w & f for f in first) for w in wanted)
    return success, bool(found) and any(w & found[0] for w in wanted)


def score(queries, answers):
    """{kind: [queries, successes, first ones right]}, and what was missed."""
    given = {a["id"]: a for a in answers}
    kinds, missed = {}, []
    for query in queries:
        facts = given.get(query["id"], {}).get("facts") or []
        facts = list(dict.fromkeys(map(triple, facts)))
        success, first = judge(query, facts)
        row = kinds.setdefault(query["kind"], [0, 0, 0])
        for i, one in enumerate((True, success, first)):
            row[i] += bool(one)
        if not success:
            missed.append((query, facts[:2]))
    return kinds, missed


def show(kinds):
    print("%-16s %5s %9s %7s" % ("kind", "n", "success", "p@1"))
    for kind, (n, success, first) in kinds.items():
        p = "" if kind.startswith("neg") else "%6.1f%%" % (100 * first / n)
        print("%-16s %5d %8.1f%% %7s" % (kind, n, 100 * success / n, p))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--misses", type=int, default=0, help="show so many of each kind")
    parser.add_argument("queries")
    parser.add_argument("answers")
    options = parser.parse_args()
    kinds, missed = score(read(options.queries), read(options.answers))
    show(kinds)
    for kind in kinds:
        for query, facts in [m for m in missed if m[0]["kind"] == kind][: options.misses]:
            asked = query.get("question") or (query["entity"], query["predicate"])
            print("MISS", kind, query["id"], asked, "| got", facts)


if __name__ == "__main__":
    main()
