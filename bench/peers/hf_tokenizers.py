#!/usr/bin/env python3
"""Compares strata's WordPiece with Hugging Face tokenizers: same texts, one thread, in turn.

    bench/peers/setup --vectors                               once: the environment of the peers
    PYTHON bench/peers/hf_tokenizers.py -m MODEL.gguf [-f TEXTS.jsonl] [--json FILE]

PYTHON is what setup prints.  The peer's tokenizer is made from the vocabulary of MODEL (an uncased
bert model), and both must give the same ids.  Each repetition runs strata_tokenize text by text,
and the peer text by text and in its two batch calls; the ratio is the median over the repetitions
of the peer's processor time, in the way that is the fastest, over strata's.  Python's call into
each text is part of both times.
"""

import argparse
import ctypes
import datetime
import json
import os
import statistics
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
RATIO_WANTED = 2
ADD_BOS = 2
CAPACITY = 1 << 16


# ---- Arithmetic


def compare(strata, peer):
    """The result from seconds of each repetition: strata's, and the peer's by way."""
    way = min(peer, key=lambda name: statistics.median(peer[name]))
    ratios = [theirs / ours for ours, theirs in zip(strata, peer[way], strict=True)]
    return {
        "way": way,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "strata_s": statistics.median(strata),
        "peer_s": {name: statistics.median(times) for name, times in peer.items()},
    }


def wordpiece_vocabulary(texts):
    """The peer's spelling of tokens: " the" is "the", "ing" "##ing", "[CLS]" stays."""
    vocabulary, special = {}, []
    for number, text in enumerate(texts):
        if text.startswith("[") and text.endswith("]") and len(text) > 2:
            special.append(text)
        else:
            text = text[1:] if text.startswith(" ") else "##" + text
        vocabulary[text] = number
    return vocabulary, special


# ---- The two


class Strata:
    """A tokenizer of the library, through its C interface."""

    def __init__(self, library, model):
        self.api = ctypes.CDLL(str(library))
        self.api.strata_last_error.restype = ctypes.c_char_p
        self.api.strata_vocab_size.restype = ctypes.c_size_t
        self.api.strata_vocab_size.argtypes = [ctypes.c_void_p]
        size, pointer = ctypes.c_size_t, ctypes.c_void_p
        self.api.strata_tokenize.argtypes = [
            *(pointer, ctypes.c_char_p, size, ctypes.c_uint, pointer, size, pointer)
        ]
        self.api.strata_detokenize.argtypes = [pointer, pointer, size, pointer, size, pointer]
        self.tokenizer, file = pointer(), pointer()
        self.check(
            self.api.strata_file_open(ctypes.byref(file), str(model).encode(), None, None)
        )
        self.check(
            self.api.strata_tokenizer_create(ctypes.byref(self.tokenizer), file, None, None)
        )
        self.ids, self.count = (ctypes.c_int32 * CAPACITY)(), ctypes.c_size_t()

    def check(self, status):
        if status:
            sys.exit(f"hf_tokenizers.py: {self.api.strata_last_error().decode()}")

    def token_texts(self):
        """The text of every token behind token 0, which keeps its leading space."""
        buffer, size = ctypes.create_string_buffer(1 << 17), ctypes.c_size_t()
        found = []
        for token in range(self.api.strata_vocab_size(self.tokenizer)):
            pair = (ctypes.c_int32 * 2)(0, token)
            lengths = []
            for n in (1, 2):
                self.check(
                    self.api.strata_detokenize(
                        self.tokenizer, pair, n, buffer, len(buffer), ctypes.byref(size)
                    )
                )
                lengths.append(size.value)
            found.append(buffer.raw[lengths[0] : lengths[1]].decode())
        return found

    def encode(self, text):
        self.check(
            self.api.strata_tokenize(
                *(self.tokenizer, text, len(text), ADD_BOS, self.ids, CAPACITY),
                ctypes.byref(self.count),
            )
        )
        return self.count.value


def make_peer(vocabulary, special):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    words = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    peer = tokenizers.Tokenizer(words)
    peer.normalizer = normalizers.BertNormalizer()
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    peer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    peer.add_special_tokens([text for text in special if not text.startswith("[unused")])
    peer.encode_special_tokens = True
    return peer, tokenizers.__version__


def require_equal(strata, peer, texts):
    for text in texts:
        count = strata.encode(text.encode())
        if strata.ids[:count] != peer.encode(text).ids:
            sys.exit(f"hf_tokenizers.py: other ids than the peer's: {text!r}")


def measure(strata, peer, texts, repetitions):
    coded = [text.encode() for text in texts]
    ways = {
        "encode": lambda: [peer.encode(text) for text in texts],
        "encode_batch": lambda: peer.encode_batch(texts),
        "encode_batch_fast": lambda: peer.encode_batch_fast(texts),
    }
    ours, theirs = [], {way: [] for way in ways}

    def timed(call):
        begin = time.process_time()
        call()
        return time.process_time() - begin

    for _ in range(repetitions):
        ours.append(timed(lambda: [strata.encode(text) for text in coded]))
        for way, call in ways.items():
            theirs[way].append(timed(call))
    return compare(ours, theirs)


# ---- Reporting


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", type=Path, required=True, help="GGUF file of a bert model")
    sentences = TOP.parent / "shared" / "golden" / "minilm" / "sentences.jsonl"
    parser.add_argument("-f", "--file", type=Path, default=sentences, help='lines {"text":...}')
    parser.add_argument("-r", "--repetitions", type=int, default=15)
    library = TOP / "build" / "runtime" / "libstrata.so"
    parser.add_argument("--library", type=Path, default=library)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    args = parser.parse_args()
    for needed in (args.model, args.file, args.library):
        if not needed.exists():
            parser.error(f"{needed} is not there")
    return args


def main():
    args = read_arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    lines = args.file.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    strata = Strata(args.library, args.model)
    peer, version = make_peer(*wordpiece_vocabulary(strata.token_texts()))
    require_equal(strata, peer, texts)
    report = {
        "suite": "hf_tokenizers",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "peer": {"name": "tokenizers", "version": version},
        "texts": len(texts),
        "bytes": sum(len(text.encode()) for text in texts),
        "repetitions": args.repetitions,
        **measure(strata, peer, texts, args.repetitions),
    }
    print(
        f"{report['texts']} texts, {report['bytes']} bytes: strata"
        f" {1e3 * report['strata_s']:.2f} ms, tokenizers {version}"
        f" {1e3 * report['peer_s'][report['way']]:.2f} ms ({report['way']}); ratio"
        f" {report['ratio']:.1f} ({report['ratio_min']:.1f} to {report['ratio_max']:.1f}),"
        f" wanted >= {RATIO_WANTED}"
    )
    if args.json:
        written = args.json.with_name(args.json.name + ".new")
        written.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        written.replace(args.json)


if __name__ == "__main__":
    main()
