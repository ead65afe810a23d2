"""Answers in the files that the field's own tools read: LLaVA's lines, JSON lists, folders.

What a file is called and what it holds is decided by each benchmark; here are the shapes they
share.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.json_text import dumps


def file_name(model_id: str, suffix: str) -> str:
    """Return a file name for a model's answers: its name without what folders are made of."""
    return (re.sub(r"[^\w.+-]+", "_", model_id).strip("._") or "model") + suffix


def llava_line(
    question_id: str | int,
    prompt: str,
    text: str,
    model_id: str,
    between: Mapping[str, Any] | None = None,
    *,
    round_id: int | None = None,
) -> dict[str, Any]:
    """Return one line of LLaVA's answer files.

    Args:
        question_id: as LLaVA's file of questions has it.
        prompt: what was asked, without the conversation template.
        text: the answer.
        model_id: name of the model.
        between: fields that stand behind the text (MMBench: `options`, `option_char`).
        round_id: stands behind the id (MMBench); None leaves it out.
    """
    # LLaVA draws a random id; one made from the line keeps equal runs equal files.
    digest = hashlib.sha256(dumps([question_id, prompt, text, model_id]).encode()).digest()
    return {
        "question_id": question_id,
        **({} if round_id is None else {"round_id": round_id}),
        "prompt": prompt,
        "text": text,
        **(between or {}),
        "answer_id": base64.urlsafe_b64encode(digest)[:22].decode(),
        "model_id": model_id,
        "metadata": {},
    }


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> Path:
    """Write one JSON object a line, atomically, and return the path."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.writelines(dumps(value, ensure_ascii=False) + "\n" for value in values)
    return path


def write_list(path: Path, value: Any) -> Path:
    """Write one JSON value, atomically, and return the path."""
    with write_atomically(path) as temporary:
        temporary.write_text(dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file, atomically, and return the path."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def one_line(text: str) -> str:
    """Return an answer as one field of a line: line ends and tabs become spaces."""
    return re.sub(r"[\r\n\t\v\f\x1c-\x1e\x85\u2028\u2029]", " ", text)
