#!/usr/bin/env python3
"""tiers/fit_tier2 on answers that were made up: evidence is named as the library names it, what
tells right from wrong weighs, and the header can be compiled.

    test_fit_tier2.py FIT_TIER2 LIBSTRATA_SO CC TIERS_FOLDER
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

fit_tier2 = load()


EVIDENCE = fit_tier2.EVIDENCE


def made_up(with_lm):
    """Queries, and answers in which the right predicate means most, or, with a language model, is
    the one that it says most; others share words."""
    queries, answers = [], []
    for i in range(120):
        nothing, linked = i % 6 == 0, i % 4 == 0
        expect = [] if nothing else [{"s": "u:e", "p": f"u:r{i % 9}", "o": "1"}]
        queries.append({"id": i, "entity": "e", "predicate": f"phrase {i}", "expect": expect})
        predicates = [
            {
                "predicate": f"u:w{k}",
                "reversed": k == 4,
                "held": not linked,
                "score": 0.1,
                "evidence": {
                    "meaning": 0.2,
                    "words": 0.1 * ((i + k) % 7),
                    EVIDENCE[1]: 0.0 if with_lm else 0.5,
                    "unsaid": (0.5 if nothing else 0.8) if with_lm else 0.0,
                },
            }
            for k in range(5)
        ]
        if not nothing:
            right = {"meaning": 0.2 if with_lm else 0.9, "words": 0.1 * (i % 7)}
            predicates.append(dict(predicates[0], predicate=f"u:r{i % 9}", evidence=right))
        candidates = [{"entity": "u:e", "score": 0.01 if nothing else 0.7, "evidence": {}}]
        answer = {"id": i, "tier": 2, "facts": [], "predicates": predicates}
        answers.append(dict(answer, candidates=candidates if linked else []))
    return queries, answers


class Test(unittest.TestCase):
    def test_names_are_those_of_the_library(self):
        library = ctypes.CDLL(LIBRARY)
        library.strata_facts_phrase_evidence_name.restype = ctypes.c_char_p
        library.strata_facts_phrase_evidence_name.argtypes = [ctypes.c_size_t]
        for i, name in enumerate(fit_tier2.EVIDENCE):
            self.assertEqual(library.strata_facts_phrase_evidence_name(i).decode(), name)
        header = (Path(TIERS) / "strata_facts.h").read_text(encoding="utf-8")
        count = re.search(r"#define STRATA_FACTS_PHRASE_EVIDENCE (\d+)", header)[1]
        self.assertEqual(int(count), len(fit_tier2.EVIDENCE))

    def test_fits(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("queries", "answers", "lm_answers")]
            for path, lines in zip(paths, [*made_up(False), made_up(True)[1]]):
                path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
            out = Path(folder) / "weights.h"
            done = subprocess.run(
                [sys.executable, "-B", SCRIPT, *paths, "--out", out], capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            for name in ("without a language model", "with one"):
                self.assertRegex(
                    done.stdout, f"{name}, all: 80 of 80 right, 80 of them first, 0 of 10 that"
                )
            self.assertRegex(done.stdout, "by tier 1: 20 of 20 right, 0 of 10 that")
            text = out.read_text(encoding="utf-8")
            found = re.findall(r"^        (\S+), /\* (.*) \*/$", text, re.M)
            self.assertEqual([n for _, n in found], 2 * list(fit_tier2.EVIDENCE))
            without, with_one = ([float(w) for w, _ in found[k : k + 5]] for k in (0, 5))
            self.assertGreater(without[0], 1)
            self.assertEqual(without[4], 0)
            self.assertLess(with_one[4], -1)
            self.assertLess(max(abs(without[2]), abs(with_one[2])), 1)
            source = Path(folder) / "use.c"
            source.write_text(
                '#include "tier2_expand.h"\n#include "weights.h"\n'
                "double use(void);\ndouble use(void) { return strata__tier2_bias[0] + "
                "strata__tier2_weights[1][0] + strata__tier2_least[1] + "
                "strata__tier2_least_linked; }\n",
                encoding="utf-8",
            )
            includes = [f"-I{Path(TIERS).parent / f}" for f in ("tiers", "runtime", "kernels")]
            subprocess.run(
                [CC, "-fsyntax-only", "-Wall", "-Werror", f"-I{folder}", *includes, source],
                check=True,
            )


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
