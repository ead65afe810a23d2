"""`hydra-mobile chat` with questions on standard input."""

from __future__ import annotations

import io
import json
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
