#!/usr/bin/env python3
"""The comparison with Hugging Face tokenizers, without them: arithmetic, vocabulary, a stand-in."""

import subprocess
import sys
import unittest
from pathlib import Path

import hf_tokenizers as script

LIBRARY, MODEL = (Path(word) for word in sys.argv[1:])


class StandIn:
    """A peer that knows one word."""

    class Encoding:
        ids = [2, 5, 3]

    def encode(self, text):
        return self.Encoding()

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    encode_batch_fast = encode_batch


class Test(unittest.TestCase):
    def test_compare(self):
        found = script.compare([1, 2, 4], {"slow": [9, 9, 9], "fast": [2, 8, 8]})
        self.assertEqual(found["way"], "fast")
        self.assertEqual((found["ratio"], found["ratio_min"], found["ratio_max"]), (2, 2, 4))
        self.assertEqual((found["strata_s"], found["peer_s"]["slow"]), (2, 9))

    def test_vocabulary(self):
        texts = script.Strata(LIBRARY, MODEL).token_texts()
        vocabulary, special = script.wordpiece_vocabulary(texts)
        self.assertEqual(special, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        self.assertEqual(vocabulary["[CLS]"], 2)
        self.assertEqual(len(vocabulary), len(texts))
        self.assertIn("##e", vocabulary)
        self.assertIn("The", vocabulary)

    def test_measure(self):
        strata = script.Strata(LIBRARY, MODEL)
        text = next(text for text in strata.token_texts() if text.startswith(" "))
        StandIn.Encoding.ids = [2, strata.token_texts().index(text), 3]
        script.require_equal(strata, StandIn(), [text.strip()] * 3)
        found = script.measure(strata, StandIn(), [text] * 3, 2)
        self.assertEqual(sorted(found["peer_s"]), ["encode", "encode_batch", "encode_batch_fast"])
        with self.assertRaises(SystemExit):
            script.require_equal(strata, StandIn(), ["[CLS]"])

    def test_usage(self):
        command = [sys.executable, script.__file__, "-m", "absent.gguf"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("absent.gguf is not there", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
