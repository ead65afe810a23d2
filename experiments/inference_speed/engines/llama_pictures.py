"""llama.cpp with pictures: its own multimodal library, `libmtmd`, beside the language part.

Called are the functions of `mtmd.h` that llama.cpp's multimodal command calls: `mtmd_tokenize`,
which also preprocesses the picture, once; then for each question `mtmd_encode_chunk`,
`mtmd_helper_decode_image_chunk`, and `llama_decode` on the text behind it. Structures are those of
the header that is built here (`llama_source`). Of the pieces into which the library cuts a picture
the first is taken, the whole picture on one square, as our programs see it.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.inference_speed import llama_source
from experiments.inference_speed.engines.base import Form, Place
from experiments.inference_speed.engines.llama_cpp import LlamaCppEngine, declared, gguf_of
from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.base import Array

#: Form of the language part -> of the tower: published models have no tower of 4 bits.
_TOWERS = {"f32": "f32", "q8_0": "q8_0", "q4_0": "q8_0"}
_IMAGE = 1  # MTMD_INPUT_CHUNK_TYPE_IMAGE
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int32


class _Parameters(ctypes.Structure):
    _fields_ = (
        ("use_gpu", ctypes.c_bool),
        ("device", _POINTER),
        ("print_timings", ctypes.c_bool),
        ("threads", ctypes.c_int),
        # As the library fills it, and never read.
        ("rest", ctypes.c_uint8 * 256),
    )


class _Text(ctypes.Structure):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("length", ctypes.c_size_t),
        ("add_special", ctypes.c_bool),
        ("parse_special", ctypes.c_bool),
    )


def projector_of(form: Form, place: Place) -> Path:
    """Return where the GGUF file of the tower and the projector lies."""
    return gguf_of(form, place).with_name("mmproj.gguf")


class LlamaPictureEngine(LlamaCppEngine):
    """Two GGUF files: the language part, and the tower with its projector."""

    whole = True
    note = "fp16 cache; built for this processor"

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Convert the language part as `LlamaCppEngine` does, and the tower by llama.cpp's script.

        Raises:
            HydraError: it failed, for example on a tower that llama.cpp does not have.
        """
        files = super().make(form, place)
        tower = projector_of(form, place)
        if not tower.is_file():
            script = llama_source.source() / "convert_hf_to_gguf.py"
            command = [sys.executable, "-W", "ignore", str(script), str(place.merged), "--mmproj"]
            command += ["--outtype", _TOWERS[form.precision], "--outfile", str(tower)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise HydraError(f"llama.cpp does not convert the tower: {last[:300]}")
        return [*files, tower]

    def __init__(self, form: Form, place: Place, threads: int) -> None:
        super().__init__(form, place, threads)
        self._m = _library(llama_source.native() / "libmtmd.so")
        self._m.mtmd_log_set(self._silence, None)
        parameters = self._m.mtmd_context_params_default()
        parameters.use_gpu, parameters.threads = False, threads
        self._batch = place.prefill
        self._seer = self._m.mtmd_init_from_file(
            str(projector_of(form, place)).encode(), self._model, parameters
        )
        if not self._seer:
            raise HydraError(f"llama.cpp does not load {projector_of(form, place).name}.")

    def look(self, picture: NDArray[np.uint8]) -> None:
        """Preprocess a picture [H, W, 3], which `encode` then encodes.

        Raises:
            HydraError: the library does not take it.
        """
        height, width, _ = picture.shape
        data = np.ascontiguousarray(picture)
        bitmap = _POINTER(self._m.mtmd_bitmap_init(width, height, data.tobytes()))
        marker = self._m.mtmd_default_marker()
        text = _Text(marker, len(marker), False, True)
        chunks = self._m.mtmd_input_chunks_init()
        code = self._m.mtmd_tokenize(
            self._seer, chunks, ctypes.byref(text), ctypes.byref(bitmap), 1
        )
        if code:
            raise HydraError(f"mtmd_tokenize ended with code {code}.")
        pieces = [
            self._m.mtmd_input_chunks_get(chunks, i)
            for i in range(self._m.mtmd_input_chunks_size(chunks))
        ]
        self._piece = next(p for p in pieces if self._m.mtmd_input_chunk_get_type(p) == _IMAGE)
        self._tokens = int(self._m.mtmd_input_chunk_get_n_tokens(self._piece))

    def encode(self, pixels: Array) -> Array:
        """Map the picture of `look` to image embeddings [1, N, hidden]; `pixels` is not read."""
        if code := self._m.mtmd_encode_chunk(self._seer, self._piece):
            raise HydraError(f"mtmd_encode_chunk ended with code {code}.")
        rows = self._m.mtmd_get_output_embd(self._seer)
        width = int(self._c.llama_model_n_embd(self._model))
        return np.ctypeslib.as_array(rows, (1, self._tokens, width)).copy()

    def read_picture(self, picture: Array, ids: list[int]) -> Array:
        """Forget everything, read image embeddings and then ids; return the last logits [V]."""
        self._c.llama_memory_clear(self._memory, True)
        rows = np.ascontiguousarray(picture, np.float32)
        place = _INT(0)
        code = self._m.mtmd_helper_decode_image_chunk(
            self._seer,
            self._context,
            self._piece,
            rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            0,
            0,
            self._batch,
            ctypes.byref(place),
            None,
            None,
        )
        if code or place.value != self._tokens:
            raise HydraError(f"mtmd_helper_decode_image_chunk ended with code {code}.")
        return self._decode(ids)


def _library(file: Path) -> Any:
    """Open libmtmd and say what its functions take."""
    floats = ctypes.POINTER(ctypes.c_float)
    size = ctypes.c_size_t
    return declared(
        file,
        ("mtmd_log_set", None, [_POINTER, _POINTER]),
        ("mtmd_context_params_default", _Parameters, []),
        ("mtmd_init_from_file", _POINTER, [ctypes.c_char_p, _POINTER, _Parameters]),
        ("mtmd_bitmap_init", _POINTER, [ctypes.c_uint32, ctypes.c_uint32, ctypes.c_char_p]),
        ("mtmd_default_marker", ctypes.c_char_p, []),
        ("mtmd_input_chunks_init", _POINTER, []),
        ("mtmd_input_chunks_size", size, [_POINTER]),
        ("mtmd_input_chunks_get", _POINTER, [_POINTER, size]),
        ("mtmd_input_chunk_get_type", ctypes.c_int, [_POINTER]),
        ("mtmd_input_chunk_get_n_tokens", size, [_POINTER]),
        ("mtmd_tokenize", _INT, [_POINTER, _POINTER, _POINTER, _POINTER, size]),
        ("mtmd_encode_chunk", _INT, [_POINTER, _POINTER]),
        ("mtmd_get_output_embd", floats, [_POINTER]),
        (
            "mtmd_helper_decode_image_chunk",
            _INT,
            [*[_POINTER] * 3, floats, _INT, _INT, _INT, _POINTER, _POINTER, _POINTER],
        ),
    )
