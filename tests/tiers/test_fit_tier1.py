#!/usr/bin/env python3
"""tiers/fit_tier1 on answers that were made up: evidence is named as the library names it, what
tells right from wrong weighs, and the header can be compiled.

    test_fit_tier1.py FIT_TIER1 LIBSTRATA_SO CC TIERS_FOLDER
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

fit_tier1 = load()


def made_up():
    """Queries, and answers in which the right candidate has a code and others are spelled alike."""
    queries, answers = [], []
    for i in range(60):
        nothing = i % 6 == 0
        expect = [] if nothing else [{"s": "<u:r>"}]
        queries.append({"id": i, "entity": "e", "predicate": "p", "expect": expect})
        candidates = [
            {"entity": f"<u:w{k}>", "score": 0, "evidence": {"spelling": 0.1 * ((i + k) % 7)}}
            for k in range(5)
        ]
        if not nothing:
            right = {"code": 1.0, "spelling": 0.1 * (i % 7)}
            candidates.append({"entity": "<u:r>", "score": 0, "evidence": right})
        answers.append({"id": i, "tier": 1, "facts": [], "candidates": candidates})
    return queries, answers


class Test(unittest.TestCase):
    def test_names_are_those_of_the_library(self):
        library = ctypes.CDLL(LIBRARY)
        library.strata_facts_evidence_name.restype = ctypes.c_char_p
        library.strata_facts_evidence_name.argtypes = [ctypes.c_size_t]
        for i, name in enumerate(fit_tier1.EVIDENCE):
            self.assertEqual(library.strata_facts_evidence_name(i).decode(), name)
        header = (Path(TIERS) / "strata_facts.h").read_text(encoding="utf-8")
        count = re.search(r"#define STRATA_FACTS_EVIDENCE (\d+)", header)[1]
        self.assertEqual(int(count), len(fit_tier1.EVIDENCE))

    def test_fits(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("queries", "answers")]
            for path, lines in zip(paths, made_up()):
                path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
            out = Path(folder) / "weights.h"
            done = subprocess.run(
                [sys.executable, "-B", SCRIPT, *paths, "--out", out], capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, "all: 50 of 50 right, 0 of 10 that expect nothing")
            text = out.read_text(encoding="utf-8")
            weights = {n: float(w) for w, n in re.findall(r"^    (\S+), /\* (.*) \*/$", text, re.M)}
            self.assertEqual(list(weights), list(fit_tier1.EVIDENCE))
            self.assertGreater(weights["code"], 1)
            self.assertLess(abs(weights["spelling"]), 1)
            source = Path(folder) / "use.c"
            source.write_text(
                '#include "tier1_link.h"\n#include "weights.h"\n'
                "double use(void);\ndouble use(void) { return strata__tier1_bias + "
                "strata__tier1_weights[0] + strata__tier1_kinks[0].weight; }\n",
                encoding="utf-8",
            )
            includes = [f"-I{Path(TIERS).parent / f}" for f in ("tiers", "runtime", "kernels")]
            subprocess.run(
                [CC, "-fsyntax-only", "-Wall", "-Werror", f"-I{folder}", *includes, source],
                check=True,
            )


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
