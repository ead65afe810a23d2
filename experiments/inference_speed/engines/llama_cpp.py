"""llama.cpp, built from source for this processor; and the wheel `xllamacpp`, built for AVX2.

The library's own functions are called as a C program would: `llama_decode` on token ids, then
`llama_get_logits_ith`. A time is that of these two and of a copy of the logits; the first step
after loading also packs weights, which the warm-up takes.

No header comes with the wheel. Parameter structures are therefore taken as llama.cpp returns them
and handed back unread, but for the leading numbers of the context's, whose effect is checked: the
context says how large it is. The cache holds fp16 and flash attention is chosen by llama.cpp, as
its defaults are.
"""

from __future__ import annotations

import ctypes
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed import llama_source
from experiments.inference_speed.engines.base import Engine, Form, Place
from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.base import Array


class _Parameters(ctypes.Structure):
    # Larger than either structure; what llama.cpp does not fill stays zero and is never read.
    _fields_ = (("head", ctypes.c_uint32 * 4), ("rest", ctypes.c_uint8 * 1008))


class _Batch(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * 256),)


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


def gguf_of(form: Form, place: Place) -> Path:
    """Return where the GGUF file of a form lies."""
    return place.work / form.name / "model.gguf"


class LlamaCppEngine(Engine):
    """One GGUF file, in llama.cpp built with every instruction set of this processor."""

    note = "language part only; fp16 cache; built for this processor"

    @classmethod
    def missing(cls) -> str | None:
        """Return why this engine cannot run here; None: it can, perhaps after minutes of building.

        Without the build there must be what it takes to make it.
        """
        return None if llama_source.is_native() else llama_source.missing()

    @classmethod
    def library_file(cls) -> Path:
        """Return llama.cpp's library, which the first call builds."""
        return llama_source.native() / "libllama.so"

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Build llama.cpp and convert the merged folder, unless that is done."""
        from experiments.inference_speed.gguf_file import write_gguf

        cls.library_file()

        file = gguf_of(form, place)
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_gguf(place.merged, file, form.precision)
        return [file]

    def __init__(self, form: Form, place: Place, threads: int) -> None:
        file = gguf_of(form, place)
        self._c = _library(self.library_file())
        began = time.perf_counter()
        self._silence = _LOG(lambda level, text, user: None)
        self._c.llama_log_set(self._silence, None)
        self._c.llama_backend_init()
        self._model = self._c.llama_model_load_from_file(
            str(file).encode(), self._c.llama_model_default_params()
        )
        if not self._model:
            raise HydraError(f"llama.cpp does not load {file.name}.")
        self._context = self._new_context(place.context, place.prefill)
        self._c.llama_set_n_threads(self._context, threads, threads)
        self._memory = self._c.llama_get_memory(self._context)
        vocabulary = self._c.llama_model_get_vocab(self._model)
        self._size = int(self._c.llama_vocab_n_tokens(vocabulary))
        self.load_seconds = time.perf_counter() - began

    def _new_context(self, context: int, prefill: int) -> int:
        parameters = self._c.llama_context_default_params()
        # n_ctx, n_batch, n_ubatch; the last as large as the prompt, so that it is one call.
        parameters.head[0] = context
        parameters.head[1] = parameters.head[2] = prefill
        made: int = self._c.llama_init_from_model(self._model, parameters)
        if not made or self._c.llama_n_ctx(made) < context:
            raise HydraError(
                "This build of llama.cpp has other context parameters than those known.",
                "Install the version that requirements.txt names.",
            )
        if self._c.llama_n_ubatch(made) != prefill:
            raise HydraError("This build of llama.cpp ignores the size of a batch.")
        return made

    def read(self, ids: list[int]) -> Array:
        """Clear the cache, read `ids` in one call, return the last logits [V]."""
        self._c.llama_memory_clear(self._memory, True)
        return self._decode(ids)

    def step(self, token: int) -> Array:
        """Append one token and return the logits [V] that follow it."""
        return self._decode([token])

    def _decode(self, ids: list[int]) -> Array:
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        code = self._c.llama_decode(self._context, self._c.llama_batch_get_one(tokens, len(ids)))
        if code:
            raise HydraError(f"llama_decode ended with code {code}.")
        logits = self._c.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(logits, (self._size,)).copy()

    def facts(self) -> dict[str, Any]:
        """Return the instruction sets that it was built for, and how llama.cpp counts."""
        text = self._c.llama_print_system_info().decode()
        return {
            "system_info": text.strip(),
            "parameters": int(self._c.llama_model_n_params(self._model)),
            "tensor_bytes": int(self._c.llama_model_size(self._model)),
        }


class LlamaCppWheelEngine(LlamaCppEngine):
    """The same in a wheel of PyPI: what there is without a compiler."""

    note = "language part only; fp16 cache; wheel built for AVX2"

    @classmethod
    def missing(cls) -> str | None:
        """Return why this engine cannot run here; None: it can."""
        if importlib.util.find_spec("xllamacpp") is None:
            return "the package `xllamacpp` is not installed"
        try:
            _library(cls.library_file())
        except (HydraError, OSError, AttributeError) as error:
            return f"this version of `xllamacpp` does not export llama.cpp's functions: {error}"
        return None

    @classmethod
    def library_file(cls) -> Path:
        """Return the wheel's library.

        Raises:
            HydraError: the wheel has none, or is not installed.
        """
        spec = importlib.util.find_spec("xllamacpp")
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for file in Path(folder).glob("xllamacpp*.so"):
                return file
        raise HydraError("There is no library of `xllamacpp`.", "pip install xllamacpp")


def _library(file: Path) -> Any:
    """Open the library and say what its functions take.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: a function is not exported.
    """
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    return declared(
        file,
        ("llama_log_set", None, [_LOG, pointer]),
        ("llama_backend_init", None, []),
        ("llama_model_default_params", _Parameters, []),
        ("llama_context_default_params", _Parameters, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, _Parameters]),
        ("llama_init_from_model", pointer, [pointer, _Parameters]),
        ("llama_n_ctx", ctypes.c_uint32, [pointer]),
        ("llama_n_ubatch", ctypes.c_uint32, [pointer]),
        ("llama_set_n_threads", None, [pointer, integer, integer]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
        ("llama_batch_get_one", _Batch, [ctypes.POINTER(integer), integer]),
        ("llama_decode", integer, [pointer, _Batch]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, integer]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", integer, [pointer]),
        ("llama_model_n_embd", integer, [pointer]),
        ("llama_model_n_params", ctypes.c_uint64, [pointer]),
        ("llama_model_size", ctypes.c_uint64, [pointer]),
        ("llama_print_system_info", ctypes.c_char_p, []),
    )


def declared(file: Path, *functions: tuple[str, Any, Sequence[Any]]) -> Any:
    """Open a library and say what functions return and take: name, result, arguments.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: a function is not exported.
    """
    library = ctypes.CDLL(str(file))
    for name, result, arguments in functions:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
