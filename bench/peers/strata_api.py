"""The C interface of a built libstrata, as much of it as the comparisons with peers use."""

import ctypes

COMPUTE = {"q8": 0, "f32": 1, "dynamic": 2}


class Config(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("threads", ctypes.c_int),
        ("cpu_level", ctypes.c_char_p),
        ("blas", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("log", ctypes.c_void_p),
        ("log_user", ctypes.c_void_p),
        ("no_tuning", ctypes.c_bool),
        ("fixed_placement", ctypes.c_bool),
        ("memory_limit", ctypes.c_uint64),
        ("memory_aim", ctypes.c_uint64),
        ("budgets", ctypes.c_void_p),
        ("n_budgets", ctypes.c_size_t),
        ("idle_ms", ctypes.c_uint),
        ("move_interval_ms", ctypes.c_uint),
        ("on_event", ctypes.c_void_p),
        ("event_user", ctypes.c_void_p),
    ]


class FactsQuery(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("subject", ctypes.c_char_p),
        ("predicate", ctypes.c_char_p),
        ("object", ctypes.c_char_p),
        ("question", ctypes.c_char_p),
        ("offset", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("deadline_ms", ctypes.c_double),
        ("max_tier", ctypes.c_int),
        ("explain", ctypes.c_bool),
    ]


class FactsAnswer(ctypes.Structure):
    _fields_ = [
        ("n_facts", ctypes.c_size_t),
        ("tier", ctypes.c_int),
        ("count", ctypes.c_size_t),
        ("complete", ctypes.c_bool),
        ("timed_out", ctypes.c_bool),
        ("latency_ms", ctypes.c_double),
    ]


class Budget(ctypes.Structure):
    _fields_ = [
        ("component", ctypes.c_char_p),
        ("host_bytes", ctypes.c_uint64),
        ("device_bytes", ctypes.c_uint64),
        ("lender", ctypes.c_char_p),
    ]


NO_LIMIT = 2**64 - 1


class ModelOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("compute", ctypes.c_int),
        ("no_pack_cache", ctypes.c_bool),
        ("no_weights", ctypes.c_bool),
        ("component", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
    ]


class GenerateOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("max_tokens", ctypes.c_size_t),
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_uint),
        ("top_p", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("repeat_penalty", ctypes.c_float),
        ("repeat_window", ctypes.c_uint),
        ("seed", ctypes.c_uint64),
        ("ignore_eos", ctypes.c_bool),
        ("stop", ctypes.c_void_p),
        ("n_stop", ctypes.c_size_t),
    ]


class Piece(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("text", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class LayerInfo(ctypes.Structure):
    _fields_ = [
        ("residency", ctypes.c_int),
        ("device", ctypes.c_char_p),
        ("weight_bytes", ctypes.c_uint64),
        ("kv_bytes", ctypes.c_uint64),
    ]


class Text(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class IndexOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("dimension", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("metric", ctypes.c_int),
    ]


class IndexInfo(ctypes.Structure):
    _fields_ = [
        ("dimension", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("metric", ctypes.c_int),
        ("count", ctypes.c_uint64),
        ("vector_bytes", ctypes.c_uint64),
        ("mapped", ctypes.c_bool),
        ("sketched", ctypes.c_bool),
        ("sketch_recall", ctypes.c_double),
    ]


class StrataError(Exception):
    pass


class Strata:
    """A runtime of the library."""

    def __init__(self, library, threads, move_interval_ms=0, budgets=()):
        self.api = ctypes.CDLL(str(library))
        self.api.strata_last_error.restype = ctypes.c_char_p
        self.api.strata_isa_name.restype = ctypes.c_char_p
        config = Config()
        self.api.strata_config_default(ctypes.byref(config))
        config.threads = threads
        config.move_interval_ms = move_interval_ms
        rows = (Budget * len(budgets))(*budgets)
        config.budgets, config.n_budgets = ctypes.addressof(rows), len(budgets)
        self.runtime = ctypes.c_void_p()
        self.call("strata_runtime_open", ctypes.byref(self.runtime), ctypes.byref(config))
        self.level = self.api.strata_isa_name(self.runtime).decode()

    def call(self, name, *arguments):
        if getattr(self.api, name)(*arguments):
            raise StrataError(self.api.strata_last_error().decode())

    def load(self, path, compute):
        options, model = ModelOptions(), ctypes.c_void_p()
        self.api.strata_model_options_default(ctypes.byref(options))
        options.compute = COMPUTE[compute]
        self.call(
            *("strata_model_load", self.runtime, str(path).encode()),
            *(ctypes.byref(options), ctypes.byref(model)),
        )
        return model


def as_texts(texts):
    """Texts as strata_embed takes them; the bytes are kept beside them."""
    coded = [text.encode() for text in texts]
    array = (Text * len(coded))(*[Text(text, len(text)) for text in coded])
    array.kept = coded
    return array
