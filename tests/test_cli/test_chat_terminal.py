"""`hydra-mobile chat` on a terminal: Ctrl-C stops an answer and keeps the conversation."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from target_bundles import export
from terminal import CTRL_C, CTRL_D, Terminal

from hydra_export.targets import Limits

# Seconds of start-up each; what stops an answer is tried every day in test_chat.py.
pytestmark = pytest.mark.slow

Open = Callable[..., Terminal]


@pytest.fixture
def opened(tmp_path: Path, tiny_base: Path) -> Iterator[Open]:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    terminals: list[Terminal] = []

    def open_chat(model: object = "tiny", *options: object) -> Terminal:
        words = ("chat", model, "--image", "a.png", "--new-tokens", 900, *options)
        terminals.append(Terminal(words, tmp_path))
        return terminals[-1]

    yield open_chat
    for terminal in terminals:
        terminal.close()


def stop_an_answer(terminal: Terminal, keys: str = CTRL_C) -> None:
    """Ask, and press a key while the answer is printed."""
    terminal.wait_for("> ")
    # Drawn so freely that the answer does not end by itself.
    terminal.press("/set temperature 50\n")
    terminal.wait_for("> ")
    terminal.press("What is it?\n")
    terminal.wait_for("?\n")
    terminal.wait_for_more(20)
    terminal.press(keys)


@pytest.mark.parametrize("runtime", ["torch", "onnx", "executorch"])
def test_ctrl_c_stops_the_answer_and_then_the_command(
    opened: Open,
    runtime: str,
    tmp_path: Path,
    tiny_merged: Path,
    golden_inputs: list[tuple[Image.Image, str]],
) -> None:
    model: object = "tiny"
    if runtime != "torch":
        limits = Limits(max_context=1024, max_prefill=64)
        export(runtime, "fp32", tiny_merged, tmp_path / "bundle", golden_inputs, limits=limits)
        model = "bundle"
    terminal = opened(model)
    stop_an_answer(terminal)
    terminal.wait_for("[stopped; the conversation")
    # The prompt is there again, and what is asked is answered.
    terminal.wait_for("> ")
    terminal.press("/set new_tokens 3\n")
    terminal.wait_for("> ")
    terminal.press("And now?\n")
    assert "3 tokens" in terminal.wait_for("tokens/s")
    terminal.wait_for("> ")
    terminal.press(CTRL_C)
    assert terminal.ended() == 130
    assert "Interrupted." in terminal.said
    assert "Traceback" not in terminal.said


def test_the_end_of_input_ends_well(opened: Open) -> None:
    terminal = opened()
    terminal.wait_for("> ")
    terminal.press(CTRL_D)
    assert terminal.ended() == 0


def test_sigterm_ends_the_command_in_the_middle_of_an_answer(opened: Open) -> None:
    terminal = opened()
    stop_an_answer(terminal, "")
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.ended() == 143
    assert "Stopped by SIGTERM." in terminal.said
    assert "Traceback" not in terminal.said
