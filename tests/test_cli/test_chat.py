"""`hydra-mobile chat` with questions on standard input."""

from __future__ import annotations

import io
import json
import signal
import sys

from PIL import Image


def test_a_conversation_changes_its_picture_and_ends_with_its_input(
    run_verb, tiny_base, tmp_path, monkeypatch
):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 20), "red").save(tmp_path / "b.png")
    lines = [
        "What is it?",
        f"/image {tmp_path / 'none.png'}",
        f"/image {tmp_path / 'b.png'}",
        "",
        "/set new_tokens 2",
        "And now?",
        "And again?",
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    code, out, err = run_verb(
        "chat", "tiny", "--image", tmp_path / "a.png", "--new-tokens", 3, "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    first, second, third = document["result"]["answers"]
    assert [a["question"] for a in (first, second, third)] == [
        "What is it?", "And now?", "And again?",
    ]  # fmt: skip
    assert first["image"].endswith("a.png")
    assert second["image"].endswith("b.png")
    assert first["tokens"] <= 3
    assert second["tokens"] <= 2
    assert second["encode_seconds"] is not None
    assert third["encode_seconds"] is None
    assert any("none.png" in warning for warning in document["warnings"])


def test_a_question_on_the_command_line_is_no_command(run_verb, tiny_base, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    asked = ("chat", "tiny", "--image", tmp_path / "a.png", "--ask", "/reset", "--new-tokens", 2)
    code, out, err = run_verb(*asked, "--json")
    assert code == 0, err
    assert [a["question"] for a in json.loads(out)["result"]["answers"]] == ["/reset"]


def test_an_empty_question_on_the_command_line_is_refused(run_verb, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    for text in ("", " \n"):
        code, _, err = run_verb("chat", "tiny", "--image", tmp_path / "a.png", "--ask", text)
        assert code == 2
        assert "--ask is empty" in err


def test_quiet_prints_the_answer_alone(run_verb, tiny_base, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    asked = ("chat", "tiny", "--image", tmp_path / "a.png", "--ask", "?", "--new-tokens", 4)
    code, out, err = run_verb(*asked, "-q")
    assert (code, err) == (0, "")
    code, document, _ = run_verb(*asked, "--json")
    assert out == json.loads(document)["result"]["answers"][0]["answer"] + "\n"


def test_a_conversation_remembers_begins_anew_and_draws_from_a_seed(
    run_verb, tiny_base, tmp_path, monkeypatch
):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    lines = ["One?", "Two?", "/reset", "One?", "/set temperature x", "/set temperature 1", "One?"]

    def talk(*options):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code, out, err = run_verb(
            "chat", "tiny", "--image", tmp_path / "a.png", "--new-tokens", 3, "--json", *options
        )
        assert code == 0, err
        return json.loads(out)

    document = talk("--seed", 5)
    first, second, again, drawn = document["result"]["answers"]
    assert [a["turn"] for a in (first, second, again, drawn)] == [1, 2, 1, 2]
    # The second prompt holds the first question and its answer; the third does not.
    assert second["prefill_tokens"] > again["prefill_tokens"]
    assert again["answer"] == first["answer"]
    assert any("is not a number" in warning for warning in document["warnings"])
    assert talk("--seed", 5)["result"]["answers"][3]["answer"] == drawn["answer"]


class Lines(io.StringIO):
    """Standard input, line by line as it is asked for."""

    def __init__(self, *lines):
        super().__init__()
        self._lines = list(lines)

    def readline(self):
        return self._lines.pop(0) if self._lines else ""


def test_odd_lines_end_no_conversation(run_verb, tiny_base, tmp_path, monkeypatch):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    odd = [
        *("/", "/foo", "/image", "/set", "/set nosuch 1", "/image a\0b", "/image /", "/image ~"),
        *(f"/set temperature {value}" for value in ("nan", "inf", "-1", "1,5", "1e30")),
        *(f"/set top_p {value}" for value in ("nan", "0", "2")),
        *(f"/set new_tokens {value}" for value in ("nan", "-1", "1e30", "9" * 5000)),
        *(f"/set seed {value}" for value in ("nan", "-1", "9" * 30)),
        *(f"/image {'a' * 5000}", "/image \x1b]0;title\x07", "word " * 20000, "Wh\0at?"),
    ]
    monkeypatch.setattr(sys, "stdin", Lines(*(f"{line}\n" for line in [*odd, "And now?"])))
    asked = ("chat", "tiny", "--image", tmp_path / "a.png", "--new-tokens", 2)
    code, out, err = run_verb(*asked, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert [a["question"] for a in document["result"]["answers"]] == ["Wh\0at?", "And now?"]
    assert "\x1b" not in err
    told = document["warnings"]
    assert len(told) > 15
    assert any("context" in text or "tokens" in text for text in told)


def test_an_image_that_vanishes_is_told_and_another_goes_on(
    run_verb, tiny_base, tmp_path, monkeypatch
):
    class Vanishing(Lines):
        def readline(self):
            if len(self._lines) == 3:
                (tmp_path / "a.png").unlink()
            return super().readline()

    for name in ("a.png", "b.png"):
        Image.new("RGB", (30, 20)).save(tmp_path / name)
    lines = ("One?\n", "Two?\n", f"/image {tmp_path / 'b.png'}\n", "Three?\n")
    monkeypatch.setattr(sys, "stdin", Vanishing(*lines))
    code, out, err = run_verb(
        "chat", "tiny", "--image", tmp_path / "a.png", "--new-tokens", 2, "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    assert [a["question"] for a in document["result"]["answers"]] == ["One?", "Three?"]
    assert any("a.png" in text for text in document["warnings"])


def test_questions_that_are_no_text_or_not_there_are_told(
    run_verb, tiny_base, tmp_path, monkeypatch
):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    asked = ("chat", "tiny", "--image", tmp_path / "a.png", "--new-tokens", 2)
    binary = io.TextIOWrapper(io.BytesIO(b"Wh\xffat?\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", binary)
    code, _, err = run_verb(*asked)
    assert code == 2
    assert "0xff" in err
    monkeypatch.setattr(sys, "stdin", None)  # as after `<&-`
    assert run_verb(*asked)[0] == 0


class _Keys(io.StringIO):
    """Lines that a person types on a terminal."""

    def isatty(self) -> bool:
        return True


class _Pressing:
    """Standard output; Ctrl-C is pressed after the first text behind `after`."""

    def __init__(self, stream, after):
        self._stream, self._after, self._armed = stream, after, False

    def write(self, text):
        written = self._stream.write(text)
        if self._armed and text.strip():
            self._after, self._armed = None, False
            signal.raise_signal(signal.SIGINT)
        if self._after and self._after in text:
            self._armed = True
        return written

    def __getattr__(self, name):
        return getattr(self._stream, name)


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(
    run_verb, tiny_base, tmp_path, monkeypatch
):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    asked = ("chat", "tiny", "--image", tmp_path / "a.png", "--new-tokens", 5)
    _, whole, _ = run_verb(*asked, "--ask", "And now?")
    monkeypatch.setattr(sys, "stdin", _Keys("What is it?\nAnd now?\n"))
    # The prompt is the last that is written before the answer.
    monkeypatch.setattr(sys, "stdout", _Pressing(sys.stdout, "> "))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, out, err = run_verb(*asked)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert code == 0
    assert "[stopped; the conversation" in err
    # The next question is the first of the conversation, and has the answer that it has alone.
    assert f"> {whole.strip()}\n" in out
