#!/usr/bin/env python3
"""tiers/fit_tier3 on answers that were made up: evidence is named as the library names it, what
tells right from wrong weighs, only the fitted part of the header is written, and that compiles.

    test_fit_tier3.py FIT_TIER3 LIBSTRATA_SO CC TIERS_FOLDER
"""

import ctypes
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fit_fixture import CC, LIBRARY, SCRIPT, TIERS, load

fit_tier3 = load()

HEADER = Path(TIERS) / "tier3_weights.h"


def made_up():
    """Questions, of which every third has no answer: a chain that the graph has not is better then.
    Of every tenth of the others the right chain is not among those that are given."""
    queries, answers = [], []
    for i in range(240):
        nothing, missed = i % 3 == 0, i % 10 == 1
        chain = [] if nothing else [[["u:e", "u:q", "u:x"]], [["u:x", "u:r", "u:a"]]]
        queries.append({"id": i, "question": f"which {i}?", "chain": chain})
        hops = [{"predicate": p, "label": None, "reversed": False} for p in ("u:q", "u:r")]
        right = {"hops": hops, "score": 2.0}
        wrong = {"hops": hops[:1], "score": 2.1}
        far = {"hops": hops[1:], "score": 1.0}
        evidence = {
            "score": 1.5 + 0.1 * (i % 7),
            "imagined": 0.5 + 0.01 * (i % 5) if nothing else -0.5 - 0.01 * (i % 5),
            "bare": 0.1 * (i % 4),
            "name": 0.3,
            "least": 0.05 * (i % 11),
            "hops": 2.0,
        }
        chains = [wrong, far] if missed and not nothing else [wrong, right, far]
        meaning = {"score": 0.5, "least": 0.4, "evidence": evidence}
        answers.append({"id": i, "tier": -1, "facts": [], "chains": chains, "meaning": meaning})
    answers.append({"error": {"code": "E_INVALID", "message": "not read"}})
    queries.append({"id": 1000, "entity": "e", "predicate": "p"})
    return queries, answers


class Test(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.out = Path(self.folder.name) / "tier3_weights.h"
        self.out.write_text(HEADER.read_text(encoding="utf-8"), encoding="utf-8")

    def write(self, name, lines):
        path = Path(self.folder.name) / name
        path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
        return path

    def fit(self, *paths):
        return subprocess.run(
            [sys.executable, "-B", SCRIPT, *paths, "--out", self.out],
            capture_output=True,
            text=True,
        )

    def fitted(self, *sets):
        """Runs on sets of (queries, answers); what it says, and the header's text."""
        paths = []
        for i, (queries, answers) in enumerate(sets):
            paths += [self.write(f"queries{i}", queries), self.write(f"answers{i}", answers)]
        done = self.fit(*paths)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, self.out.read_text(encoding="utf-8")

    def test_names_are_those_of_the_library(self):
        library = ctypes.CDLL(LIBRARY)
        library.strata_facts_chain_evidence_name.restype = ctypes.c_char_p
        library.strata_facts_chain_evidence_name.argtypes = [ctypes.c_size_t]
        for i, name in enumerate(fit_tier3.EVIDENCE):
            self.assertEqual(library.strata_facts_chain_evidence_name(i).decode(), name)
        header = (Path(TIERS) / "strata_facts.h").read_text(encoding="utf-8")
        count = re.search(r"#define STRATA_FACTS_CHAIN_EVIDENCE (\d+)", header)[1]
        self.assertEqual(int(count), len(fit_tier3.EVIDENCE))

    def test_constants_are_those_of_the_code(self):
        code = (Path(TIERS) / "tier3_find.c").read_text(encoding="utf-8")
        self.assertEqual(int(re.search(r"#define CHAINS_MOST (\d+)", code)[1]), fit_tier3.CHAINS)
        self.assertEqual(float(re.search(r"#define BEHIND_MOST (\S+)f", code)[1]), fit_tier3.BEHIND)

    def test_fits(self):
        said, text = self.fitted(made_up())
        self.assertRegex(said, r"file 1: 144 of 160 right \(without refusing 144\), 8 of 80 ")
        self.assertRegex(said, "file 1, half 0, by the other's weights: ")
        weights = {n: float(w) for w, n in re.findall(r"^    (\S+), /\* (.*) \*/$", text, re.M)}
        self.assertEqual(list(weights), list(fit_tier3.EVIDENCE))
        self.assertLess(weights["imagined"], -5)
        self.assertTrue(all(abs(w) < 1 for n, w in weights.items() if n != "imagined"), weights)
        least = float(re.search(r"strata__tier3_least = ([\d.]+);", text)[1])
        self.assertTrue(0 < least < 0.5, least)

    def test_only_the_fitted_part_changes(self):
        pattern = r"static const double strata__tier3_bias.*?strata__tier3_least = [^;]*;\n"
        before = HEADER.read_text(encoding="utf-8")
        _, text = self.fitted(made_up())
        self.assertNotEqual(text, before)
        rest = [re.sub(pattern, "", t, flags=re.DOTALL) for t in (before, text)]
        self.assertEqual(*rest)
        _, again = self.fitted(made_up())
        self.assertEqual(again, text)
        source = Path(self.folder.name) / "use.c"
        source.write_text(
            f'#include "{self.out}"\ndouble use(void);\ndouble use(void) {{ return '
            "strata__tier3_bias + strata__tier3_weights[5] + strata__tier3_least + "
            "(double)(strata__tier3_hop_least + strata__tier3_kind_least + strata__tier3_kind_gain "
            "+ strata__tier3_bare + strata__tier3_loose + strata__tier3_apart + "
            "strata__tier3_backward + strata__tier3_implied + strata__tier3_name + "
            "strata__tier3_return); }\n",
            encoding="utf-8",
        )
        includes = [f"-I{Path(TIERS).parent / f}" for f in ("tiers", "runtime", "kernels")]
        subprocess.run([CC, "-fsyntax-only", "-Wall", "-Werror", *includes, source], check=True)

    def test_two_files(self):
        queries, answers = made_up()
        said, _ = self.fitted((queries[:120], answers), (queries[120:], answers))
        self.assertRegex(said, r"file 1: \d+ of 80 right .*, \d+ of 40 without")
        self.assertRegex(said, r"file 2: \d+ of 80 right .*, \d+ of 40 without")

    def test_refusals(self):
        queries, answers = made_up()
        q, a = self.write("q", queries), self.write("a", [{"id": 1, "facts": []}])
        before = self.out.read_text(encoding="utf-8")
        done = self.fit(q, a)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--explain", done.stderr)
        self.assertNotEqual(self.fit(q).returncode, 0)
        self.assertEqual(self.out.read_text(encoding="utf-8"), before)
        self.out.write_text("/* nothing */\n", encoding="utf-8")
        done = self.fit(q, self.write("a", answers))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no fitted part", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
