#!/usr/bin/env python3
"""test_make_model.py STRATA MAKE_MODEL: models of random weights, and that STRATA takes them."""

import json
import math
import re
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parent / "kernels"
# A model with byte-level BPE over 320 tokens.
SOURCE = HERE.parent / "tests" / "data" / "tiny" / "llama256-Q4_1.gguf"
ENCODER = HERE.parent / "tests" / "data" / "tiny" / "bert.gguf"  # with WordPiece
STRATA, MAKER = (sys.argv.pop(1) for _ in range(2))
LISTED = json.loads(subprocess.run([MAKER, "--list"], capture_output=True, check=True).stdout)

BLOCKS_OF_256 = ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs")


def x_rows():
    """By type: GGUF id, elements a block, bytes a block."""
    text = (KERNELS / "block_formats.h").read_text()
    rows = re.findall(r"^    X\((\w+), (\d+), (\d+), (\d+)\)", text, re.MULTILINE)
    return {name.lower(): tuple(map(int, numbers)) for name, *numbers in rows}


def computed_types():
    """What kernel_list.h has kernels for."""
    text = (KERNELS / "kernel_list.h").read_text().replace("\\\n", " ")
    rows = re.findall(r"define STRATA_(?:FLOAT|PACKED)_ROWS\(X, op, level\)(.*)", text)
    return {name.lower() for name in re.findall(r"X\(op, (\w+), level\)", " ".join(rows))}


# ---- Reference decoders of one block, from the comments of kernels/block_formats.h


def half(block, at):
    return struct.unpack_from("<e", block, at)[0]


def nibbles(data):
    return [byte & 15 for byte in data] + [byte >> 4 for byte in data]


def nibbles_by(data, step):
    return [q for at in range(0, len(data), step) for q in nibbles(data[at : at + step])]


def crumbs(data):
    """Two-bit fields: 128 elements in each 32 bytes."""
    return [
        data[at + low] >> shift & 3
        for at in range(0, len(data), 32)
        for shift in (0, 2, 4, 6)
        for low in range(32)
    ]


def top_bits(data):
    """Of 256 elements: bit i / 32 of byte i % 32."""
    return [data[i % 32] >> i // 32 & 1 for i in range(256)]


def with_fifth(block, at, quants):
    bits = int.from_bytes(block[at : at + 4], "little")
    return [q | (bits >> i & 1) << 4 for i, q in enumerate(quants)]


def k_factors(packed):
    """The eight scales and the eight minima of Q4_K and Q5_K."""
    low = [byte & 63 for byte in packed[:8]]
    ends, tops = packed[8:], [byte >> 6 for byte in packed[:8]]
    scales = low[:4] + [ends[j] & 15 | tops[j] << 4 for j in range(4)]
    return scales, low[4:] + [ends[j] >> 4 | tops[j + 4] << 4 for j in range(4)]


def k_weights(block, quants):
    scales, minima = k_factors(block[4:16])
    d, least = half(block, 0), half(block, 2)
    return [d * scales[i // 32] * q - least * minima[i // 32] for i, q in enumerate(quants)]


IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def decode_q2_k(block):
    d, least, scales = half(block, 80), half(block, 82), block[:16]
    quants = enumerate(crumbs(block[16:80]))
    return [d * (scales[i // 16] & 15) * q - least * (scales[i // 16] >> 4) for i, q in quants]


def decode_q3_k(block):
    packed, tops = block[96:108], top_bits(block)
    low = nibbles(packed[:8])
    scales = [low[j] | (packed[8 + j % 4] >> 2 * (j // 4) & 3) << 4 for j in range(16)]
    quants = [q | tops[i] << 2 for i, q in enumerate(crumbs(block[32:96]))]
    return [half(block, 108) * (scales[i // 16] - 32) * (q - 4) for i, q in enumerate(quants)]


def decode_q5_k(block):
    tops = top_bits(block[16:48])
    return k_weights(block, [q | tops[i] << 4 for i, q in enumerate(nibbles_by(block[48:], 32))])


def decode_q6_k(block):
    scales = struct.unpack_from("<16b", block, 192)
    tops = crumbs(block[128:192])
    quants = [q | tops[i] << 4 for i, q in enumerate(nibbles_by(block[:128], 64))]
    return [half(block, 208) * scales[i // 16] * (q - 32) for i, q in enumerate(quants)]


def decode_iq4_xs(block):
    high = int.from_bytes(block[2:4], "little")
    low = [block[4 + j // 2] >> 4 * (j % 2) & 15 for j in range(8)]
    scales = [low[j] | (high >> 2 * j & 3) << 4 for j in range(8)]
    quants = enumerate(nibbles_by(block[8:], 16))
    return [half(block, 0) * (scales[i // 32] - 32) * IQ4[q] for i, q in quants]


DECODERS = {
    "f32": lambda b: struct.unpack("<f", b),
    "f16": lambda b: struct.unpack("<e", b),
    "bf16": lambda b: struct.unpack("<f", b"\0\0" + b),
    "q4_0": lambda b: [half(b, 0) * (q - 8) for q in nibbles(b[2:])],
    "q4_1": lambda b: [half(b, 0) * q + half(b, 2) for q in nibbles(b[4:])],
    "q5_0": lambda b: [half(b, 0) * (q - 16) for q in with_fifth(b, 2, nibbles(b[6:]))],
    "q5_1": lambda b: [half(b, 0) * q + half(b, 2) for q in with_fifth(b, 4, nibbles(b[8:]))],
    "q8_0": lambda b: [half(b, 0) * q for q in struct.unpack("<32b", b[2:])],
    "iq4_nl": lambda b: [half(b, 0) * IQ4[q] for q in nibbles(b[2:])],
    "q4_k": lambda b: k_weights(b, nibbles_by(b[16:], 32)),
    "q2_k": decode_q2_k,
    "q3_k": decode_q3_k,
    "q5_k": decode_q5_k,
    "q6_k": decode_q6_k,
    "iq4_xs": decode_iq4_xs,
}


# ---- The tests


def counted(text):
    return struct.pack("<Q", len(text)) + text.encode()


def array(kind, count, data):
    return struct.pack("<IIQ", 9, kind, count) + data


class Types(unittest.TestCase):
    def test_they_are_what_strata_computes_with(self):
        self.assertEqual(set(LISTED["types"]), computed_types())
        self.assertEqual(set(LISTED["types"]), set(DECODERS))


class Shapes(unittest.TestCase):
    def test_parameters_are_those_of_the_real_models(self):
        published = {
            "smollm2-135m": 134_515_008,
            "smollm2-360m": 361_821_120,
            "smollm2-1.7b": 1_711_376_384,
            "llama-1b": 1_235_814_400,
            "llama-8b": 8_030_261_248 - 128256 * 4096,  # whose output head is not tied
            "openelm-1.1b": 1_079_891_456,
            "minilm-l6": 22_713_216 - 384 * 385,  # without its pooler, which strata does not use
        }
        shapes = {name for name in LISTED["shapes"] if not name.startswith("tiny")}
        self.assertEqual(shapes, set(published))
        for name, parameters in published.items():
            tensors = LISTED["shapes"][name]
            self.assertEqual(sum(map(math.prod, tensors.values())), parameters, name)

    def test_layers_of_openelm_differ(self):
        tensors = LISTED["shapes"]["openelm-1.1b"]
        self.assertEqual(tensors["blk.0.attn_qkv.weight"], [2048, (16 + 2 * 4) * 64])
        self.assertEqual(tensors["blk.27.attn_qkv.weight"], [2048, (32 + 2 * 8) * 64])
        self.assertEqual(tensors["blk.0.ffn_down.weight"], [1024, 2048])
        factors = [round(0.5 + 3.5 * i / 27, 2) for i in range(28)]  # config.json
        for layer, factor in enumerate(factors):
            width = int(factor * 2048 + 128) // 256 * 256
            self.assertEqual(tensors[f"blk.{layer}.ffn_gate.weight"], [2048, width])
        self.assertEqual(tensors["blk.3.attn_k_norm.weight"], [64])


class InFolder(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.out = self.folder / "out.gguf"

    def make(self, shape, kind, *words, status=0, out=None, **how):
        """Runs the program and returns what it says."""
        done = subprocess.run(
            [MAKER, shape, kind, out or self.out, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            **how,
        )
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        return done.stderr

    def strata(self, *words, text=None):
        done = subprocess.run(
            [STRATA, *words], input=text, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def left(self):
        return sorted(entry.name for entry in self.folder.iterdir())


class Models(InFolder):
    def check_data(self, inspected):
        """Data follow the header, each tensor's at a multiple of 32."""
        data = self.out.read_bytes()
        self.assertEqual(data[:8], b"GGUF" + struct.pack("<I", 3))
        at = len(data) - sum((t["bytes"] + 31) // 32 * 32 for t in inspected["tensors"])
        self.assertEqual((at % 32, inspected["file_bytes"]), (0, len(data)))
        self.assertEqual(data[-1024:], struct.pack("<f", 1) * 256)

    def check_weights(self, kind, row, tensor):
        """They are centred and deviate by about two hundredths.  The data of `tensor` are the last
        of the file but for those of 5 vectors of 256, all ones."""
        _, elements, size = row
        data = self.out.read_bytes()[: -5 * 1024][-tensor["bytes"] :]
        blocks = (data[at : at + size] for at in range(0, (1 << 16) // elements * size, size))
        weights = [weight for block in blocks for weight in DECODERS[kind](block)]
        self.assertEqual(len(weights), 1 << 16)
        self.assertLess(abs(statistics.fmean(weights)), 0.001)
        deviation = math.sqrt(statistics.fmean(w * w for w in weights))
        self.assertLess(abs(deviation - 0.02), 0.0015)

    def test_strata_computes_with_every_type(self):
        ids, rows = '{"ids":[5,329]}', x_rows()
        for kind in LISTED["types"]:
            row = rows[kind]
            with self.subTest(kind):
                self.assertEqual(self.make("tiny", kind, "--tokenizer-from", SOURCE), "")
                found = self.strata("inspect", "--json", str(self.out))
                self.assertTrue(found["runnable"], found["reason"])
                self.check_data(found)
                tensors = {t["name"]: t for t in found["tensors"]}
                down = tensors["blk.1.ffn_down.weight"]
                wanted = (kind.upper(), [512, 256], 512 * 256 // row[1] * row[2])
                self.assertEqual((down["type"], down["shape"], down["bytes"]), wanted)
                self.check_weights(kind, row, down)
                embedding = "Q6_K" if kind in BLOCKS_OF_256 else "Q8_0"
                embedding = kind.upper() if row[1] == 1 else embedding
                self.assertEqual(tensors["token_embd.weight"]["type"], embedding)
                words = ("-m", str(self.out), "-t", "1", "--no-pack-cache", "--top", "330")
                logits = self.strata("logits", *words, text=ids)
                values = [value for _, value in logits["top"]]
                self.assertEqual(len(values), 330)
                self.assertTrue(all(map(math.isfinite, values)))
                self.assertGreater(logits["std"], 0.01)

    def test_strata_makes_vectors(self):
        self.make("tiny-bert", "q8_0", "--tokenizer-from", ENCODER)
        found = self.strata("inspect", "--json", str(self.out))
        kinds = {t["name"]: t["type"] for t in found["tensors"]}
        self.assertEqual(kinds["blk.1.ffn_up.weight"], "Q8_0")
        self.assertEqual(kinds["position_embd.weight"], "F32")
        self.assertEqual(kinds["blk.1.attn_q.bias"], "F32")
        words = ("-m", str(self.out), "-t", "1", "--no-pack-cache")
        made = self.strata("embed", *words, text='{"text":"the river"}')
        self.assertEqual(len(made["embedding"]), 64)
        self.assertAlmostEqual(sum(x * x for x in made["embedding"]), 1, 4)

    def test_rows_that_hold_no_whole_blocks_are_q8_0(self):
        said = self.make("tiny-narrow", "q4_k", "--tokenizer-from", SOURCE)
        self.assertEqual(said.count("\n"), 1)
        self.assertIn("q4_k has blocks of 256: matrices with rows of 96 are q8_0", said)
        found = self.strata("inspect", "--json", str(self.out))
        kinds = {t["name"]: t["type"] for t in found["tensors"]}
        self.assertEqual(kinds["token_embd.weight"], "Q8_0")
        self.assertEqual(kinds["blk.0.attn_q.weight"], "Q8_0")
        self.assertEqual(kinds["blk.0.ffn_down.weight"], "Q4_K")
        self.assertTrue(found["runnable"], found["reason"])

    def test_placeholder_vocabulary_is_refused_as_said(self):
        said = self.make("tiny", "q8_0")
        self.assertIn('strata refuses (it has no unknown token and no byte tokens)', said)
        found = self.strata("inspect", "--json", str(self.out))
        self.assertFalse(found["runnable"])
        self.assertIn("tokenizer.ggml.unknown_token_id: missing", found["reason"])

    def test_same_arguments_give_same_bytes(self):
        found = []
        for words in ((), (), ("--seed", 1)):
            self.make("tiny", "q5_1", "--tokenizer-from", SOURCE, *words)
            found.append(self.out.read_bytes())
        self.assertEqual(found[0], found[1])
        self.assertNotEqual(found[0], found[2])
        self.assertEqual(len(found[0]), len(found[2]))

    def test_threads_give_same_bytes(self):
        found = set()
        for threads in (1, 2, 7):
            self.make("tiny", "f32", "--threads", threads)  # each tensor is of two chunks or more
            found.add(self.out.read_bytes())
        self.assertEqual(len(found), 1)

    def test_no_data_repeat(self):
        self.make("tiny", "f32")
        data = self.out.read_bytes()
        data = data[data.index(b"blk.0.attn_q.weight") + 8192 : -5 * 1024]
        parts = [data[at : at + 16] for at in range(0, len(data) - 16, 16)]
        self.assertEqual(len(set(parts)), len(parts))

    def test_counts_of_layers(self):
        self.make("tiny-openelm", "q8_0")
        data = self.out.read_bytes()
        for key, values in (
            ("attention.head_count", (16, 16, 16, 20)),
            ("attention.head_count_kv", (4, 4, 4, 5)),
            ("feed_forward_length", (1024, 1280, 1536, 1792)),
        ):
            wanted = counted(f"openelm.{key}") + array(5, 4, struct.pack("<4i", *values))
            self.assertIn(wanted, data)


class Failures(InFolder):
    def from_bytes(self, data):
        """What the script says about a tokenizer file of these bytes."""
        path = self.folder / "source.gguf"
        path.write_bytes(data)
        said = self.make("tiny", "q8_0", "--tokenizer-from", path, status=1)
        self.assertEqual(self.left(), ["source.gguf"])
        self.assertIn("source.gguf: ", said)
        self.assertIn("give --tokenizer-from another model", said)
        return said

    def test_other_tokenizer_files_are_refused(self):
        head, data = b"GGUF" + struct.pack("<IQQ", 3, 0, 1), SOURCE.read_bytes()
        key = counted("tokenizer.ggml.tokens")
        types = counted("tokenizer.ggml.token_type")
        one = array(8, 1, counted("a"))
        two = head[:16] + struct.pack("<Q", 2) + key + one + types + array(5, 0, b"")
        for wanted, source in (
            ("not a GGUF file", b""),
            ("not a GGUF file", b"PK\3\4" + bytes(100)),
            ("GGUF version 1", b"GGUF" + struct.pack("<I", 1) + bytes(100)),
            ("has no tokenizer.ggml.tokens", b"GGUF" + struct.pack("<IQQ", 3, 0, 0)),
            ("cut off at byte 4", b"GGUF\3"),
            ("cut off at byte", data[:3000]),
            ("cut off at byte", head + struct.pack("<Q", 1 << 63)),
            ("unknown type 13", head + key + struct.pack("<I", 13)),
            ("unknown type 9", head + key + struct.pack("<IIQ", 9, 9, 1)),
            ("cut off at byte", head + key + struct.pack("<IIQ", 9, 8, 1 << 62)),
            ("is not an array", head + key + struct.pack("<II", 4, 1)),
            ("is not an array", head + key + struct.pack("<IB", 0, 1)),
            ("has tokenizer.ggml.tokens twice", two[:24] + 2 * (key + one)),
            ("token_type has 0 elements for 1 tokens", two),
        ):
            with self.subTest(wanted):
                self.assertIn(wanted, self.from_bytes(source))

    def test_more_tokens_than_the_shape_has_are_refused(self):
        said = self.make("tiny-bert", "q8_0", "--tokenizer-from", SOURCE, status=1)
        self.assertIn("has 320 tokens, more than the 120 of the shape", said)

    def test_every_part_of_a_tokenizer_is_checked(self):
        self.make("tiny", "q8_0", "--tokenizer-from", SOURCE)
        whole = self.out.read_bytes()
        self.out.unlink()
        end = whole.index(b"token_embd.weight") - 8
        for size in [*range(0, 600), *range(600, end, 97), end - 1]:
            self.assertRegex(self.from_bytes(whole[:size]), "cut off at byte|not a GGUF file")
            (self.folder / "source.gguf").unlink()

    def test_failing_write_leaves_what_was_there(self):
        self.out.write_bytes(b"before")
        for size in (0, 5000, 400_000):  # where the header ends, or tensors go on
            limit = (size, resource.RLIM_INFINITY)
            said = self.make(
                *("tiny", "f16"),
                status=1,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
            )
            self.assertIn(f"{self.out.resolve()}: File too large: nothing was written", said)
            self.assertEqual((self.left(), self.out.read_bytes()), (["out.gguf"], b"before"))

    def test_too_little_space_is_refused_before_writing(self):
        said = self.make("tiny", "f32", status=1, out="/proc/out.gguf")  # where never is any
        self.assertRegex(said, r"needs \d MB, and /proc has 0 MB free: make room")


class Commands(InFolder):
    def test_signals_leave_nothing(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            process = subprocess.Popen(
                [MAKER, "smollm2-360m", "f32", self.out, "--threads", "1"],
                stderr=subprocess.PIPE,
                # As from a shell, also where this runs in the background, which ignores SIGINT.
                preexec_fn=lambda number=number: signal.signal(number, signal.SIG_DFL),
            )
            while process.poll() is None and not self.left():
                time.sleep(0.001)
            process.send_signal(number)
            said = process.communicate()[1]
            self.assertEqual((process.returncode, self.left()), (status, []), said)

    def test_list_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([MAKER, "--list"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write to stdout: No space left on device", done.stderr)

    def test_help(self):
        said = subprocess.run([MAKER, "--help"], capture_output=True, text=True, check=True).stdout
        for name in (*LISTED["types"], *LISTED["shapes"], "--tokenizer-from", "--seed"):
            self.assertIn(name, said)

    def refused(self, said, *words):
        done = subprocess.run(
            [MAKER, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn(said, done.stderr)
        self.assertEqual(self.left(), [])

    def test_wrong_usage(self):
        self.refused("required: SHAPE, TYPE, OUT.gguf")
        self.refused("invalid choice: 'gpt-5' (choose from", "gpt-5", "q8_0", "out.gguf")
        self.refused("invalid choice: 'q8_1' (choose from", "llama-1b", "q8_1", "out.gguf")
        seed = ("llama-1b", "q8_0", "out.gguf", "--seed")
        self.refused("-1 is below 0", *seed, "-1")
        self.refused("'1x' is no whole number", *seed, "1x")
        self.refused("'' is no whole number", *seed, "")
        self.refused(f"{1 << 64} is not from 0 to {(1 << 64) - 1}", *seed, str(1 << 64))
        self.refused("option '--seed' requires an argument", *seed)
        self.refused("unrecognized option '--nix'", *seed, "1", "--nix")
        self.refused("unrecognised argument: more", *seed, "1", "more")
        self.refused("0 is not from 1 to 256", "llama-1b", "q8_0", "out.gguf", "--threads", "0")
        self.refused("is no file name", "llama-1b", "q8_0", "")
        self.refused("is no folder: make it", "llama-1b", "q8_0", f"{SOURCE}/out.gguf")
        self.refused("is no folder: make it", "llama-1b", "q8_0", "none/out.gguf")
        self.refused("is no plain file: choose another", "llama-1b", "q8_0", ".")
        words = ("llama-1b", "q8_0", "out.gguf", "--tokenizer-from")
        self.refused("none.gguf is not there, or no file", *words, "none.gguf")
        source = str(SOURCE)
        self.refused("model to read", "llama-1b", "q8_0", source, "--tokenizer-from", source)


if __name__ == "__main__":
    unittest.main()
