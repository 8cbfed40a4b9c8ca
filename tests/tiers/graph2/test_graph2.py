#!/usr/bin/env python3
"""What is found in a graph of other predicates and kinds than the development set's: imported with
vectors, asked by the command line, scored by kind.  Nothing of tiers 1 and 2 was fitted to it; of
tier 3, when it answers was fitted to questions of the same wording about other entities (SEED
atlas) beside the development set's.

    test_graph2.py STRATA
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from graph2_graph import BASE
from graph2_score import read, score, show

STRATA = sys.argv[1]
MAKE = Path(__file__).resolve().parent / "make_graph2.py"
SEED = "b"

# Kind: successes, and first facts right, in percent at least.  What has no answer: refused.  They
# are a few queries under what seeds differ by.
FLOORS = {
    "exact": (100, 100), "t1-typo": (92, 90), "t1-altname": (93, 93), "t1-code": (95, 95),
    "t1-abbreviation": (87, 79), "t1-inflection": (93, 93), "t2-paraphrase": (79, 71),
    "t1+t2": (78, 72), "neg-entity": (75, 0), "neg-predicate": (75, 0), "neg-nofact": (78, 0),
    "neg-type": (78, 0),
}  # fmt: skip

# The same of questions.
TIER3_FLOORS = {
    "t3-1hop": (80, 72), "t3-2hop": (80, 72), "t3-3hop": (78, 62), "t3-4hop": (80, 62),
    "t3-count": (68, 60), "t3-intersect": (62, 50), "neg-question": (70, 0),
}  # fmt: skip


def model():
    """The model of vectors in strata's folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = os.environ.get("STRATA_HOME") or str(Path(cache) / "strata")
    return Path(home) / "models" / "minilm.gguf"


def make(folder, hashes):
    """Makes graph and queries where sets have another order for each of `hashes`."""
    environment = dict(os.environ, PYTHONHASHSEED=str(hashes))
    command = [sys.executable, "-B", str(MAKE), "--seed", SEED, str(folder)]
    subprocess.run(command, env=environment, check=True)
    return Path(folder)


class Files(unittest.TestCase):
    """Graph and queries, which need no model."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.made = [make(Path(cls.scratch.name) / str(i), i) for i in range(2)]
        cls.queries = [q for n in ("queries", "more") for q in read(cls.made[0] / f"{n}.jsonl")]

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_the_same_each_time(self):
        for name in ("kg.nt", "queries.jsonl", "more.jsonl"):
            self.assertEqual(*((folder / name).read_bytes() for folder in self.made))

    def test_expected_facts_are_in_the_graph(self):
        lines = set((self.made[0] / "kg.nt").read_text(encoding="utf-8").splitlines())
        bare = {x.rsplit(" ", 1)[0].rsplit("^^", 1)[0] for x in lines}
        for query in self.queries:
            for fact in query["expect"]:
                s, p, o = (fact[x] for x in "spo")
                o = f"<{o}>" if o.startswith(BASE) else f'"{o}"'
                self.assertIn(f"<{s}> <{p}> {o}", bare, query["id"])

    def test_scores(self):
        """Right answers score all, and wrong ones nothing."""
        right = [{"id": q["id"], "facts": q["expect"]} for q in self.queries]
        wrong = [dict(a, facts=[dict.fromkeys("spo", "x")]) for a in right]
        for answers, share in ((right, 1), (wrong, 0)):
            for kind, (n, success, first) in score(self.queries, answers)[0].items():
                self.assertEqual(success, n * share, kind)
                if not kind.startswith("neg"):
                    self.assertEqual(first, n * share, kind)


@unittest.skipUnless(model().exists(), "no model minilm (tools/fetch-models minilm)")
class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            made = make(folder, 0)
            queries = [q for n in ("queries", "more") for q in read(made / f"{n}.jsonl")]
            cls.run_strata("import", made / "store", made / "kg.nt")
            seen = ("id", "entity", "predicate", "question")
            lines = [json.dumps({k: q[k] for k in seen if k in q}) for q in queries]
            out = cls.run_strata("ask", made / "store", text="\n".join(lines) + "\n")
        cls.answers = [json.loads(x) for x in out.splitlines()]
        cls.queries = queries
        cls.kinds, cls.missed = score(queries, cls.answers)
        show(cls.kinds)

    @staticmethod
    def run_strata(what, store, *files, text=None):
        command = [STRATA, "facts", what, store, *files, "--embed-model", model(), "-q"]
        command += ["--no-pack-cache", "--device", "cpu"]
        return subprocess.run(
            command, input=text, stdout=subprocess.PIPE, encoding="utf-8", check=True
        ).stdout

    def test_each_query_is_answered(self):
        self.assertEqual([a["id"] for a in self.answers], [q["id"] for q in self.queries])

    def check(self, floors):
        for kind, least in floors.items():
            n, *reached = self.kinds[kind]
            for what, count, floor in zip(("successes", "first facts right"), reached, least):
                missed = [q["id"] for q, _ in self.missed if q["kind"] == kind]
                self.assertGreaterEqual(100 * count, floor * n, f"{kind}: {what}; missed: {missed}")

    def test_names_and_phrases(self):
        self.check(FLOORS)

    def test_questions(self):
        self.check(TIER3_FLOORS)

    def test_all_kinds_have_floors(self):
        self.assertEqual(set(self.kinds), set(FLOORS) | set(TIER3_FLOORS))


if __name__ == "__main__":
    program = unittest.main(argv=sys.argv[:1], exit=False)
    if program.result.wasSuccessful() and program.result.skipped:
        print("skipped in part: " + program.result.skipped[0][1])
        sys.exit(77)
    sys.exit(not program.result.wasSuccessful())
