"""The page of `chat --web` in a real browser: two models answer the same question side by side.

Skipped, with the reason, where gradio, Playwright or Chromium is missing. `HYDRA_MOBILE_CHROMIUM`
names another browser than those on the path.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import hydra_mobile as hm

QUESTIONS = ("What is in the image?", "Is it red?")


def test_options_of_the_page_are_refused_without_it(run_verb, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    code, _, err = run_verb("chat", "tiny", "--image", tmp_path / "a.png", "--beside", "tiny")
    assert code == 2
    assert "--web" in err
    code, _, err = run_verb("chat", "tiny", "--web", "--ask", "What?")
    assert code == 2
    assert "--ask" in err
    code, _, err = run_verb("chat", "tiny", "--ask", "What?")
    assert code == 2
    assert "--image" in err


def test_the_extra_that_brings_the_page_is_named(run_verb, tiny_base, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = run_verb("chat", "tiny", "--web")
    assert code == 2
    assert "hydra-mobile[web]" in err


@pytest.fixture
def address(tiny_base: Path, sound_chain, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The page of a base and a bundle, served by the command itself."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    pytest.importorskip("gradio", reason="needs the extra [web]")
    models = [str(tiny_base), "--beside", str(sound_chain.bundle)]
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "chat", *models, "--web"]
    process = subprocess.Popen(
        [*command, "--new-tokens", "8"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stderr is not None
    try:
        told = ""
        for line in process.stderr:
            told += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail(told)
        yield found[0], sound_chain.bundle
        process.terminate()
        _, rest = process.communicate(timeout=60)
        assert "Traceback" not in rest
        # People's pictures go with the page.
        assert not [p for p in temporary.rglob("*") if p.suffix in (".png", ".heic", ".tiff")]
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_two_models_answer_side_by_side(address, browser, tiny_base, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    url, bundle = address
    noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    picture = tmp_path / "picture.png"
    Image.fromarray(noise).save(picture)
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    # Nothing of it may be needed from elsewhere.
    page.route(
        lambda asked: urlsplit(asked).hostname not in ("127.0.0.1", None),
        lambda route: route.abort(),
    )
    page.set_default_timeout(120_000)
    page.goto(url)
    page.set_input_files("input[type=file]", picture)
    page.get_by_role("img").first.wait_for()
    history: list[list[tuple[str, str]]] = [[], []]
    models = [hm.load(tiny_base), hm.load(bundle)]
    for count, question in enumerate(QUESTIONS, 1):
        box = page.get_by_label("Question")
        box.fill(question)
        box.press("Enter")
        for at, model in enumerate(models):
            expected = model.ask(picture, question, max_new_tokens=8, history=history[at])
            said = page.get_by_role("log").nth(at).get_by_test_id("bot").nth(count - 1)
            playwright.expect(said).to_contain_text("[stopped")
            assert " ".join(expected.text.split()) in " ".join(said.inner_text().split())
            history[at].append((question, expected.text))
    page.screenshot(path=os.environ.get("HYDRA_MOBILE_SHOT", tmp_path / "page.png"))
    page.get_by_role("button", name="Begin anew").click()
    playwright.expect(page.get_by_test_id("bot")).to_have_count(0)


def _eps(file: Path) -> None:
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")


WRONG = {
    "text.png": lambda file: file.write_text("I am text"),
    "empty.png": lambda file: file.write_bytes(b""),
    "drawing.svg": lambda file: file.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "photo.heic": lambda file: file.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)),
    "script.png": _eps,
    "depth.tiff": lambda file: Image.new("F", (30, 20), 0.5).save(file),
}


@pytest.mark.slow
def test_uploads_are_opened_as_everywhere_or_refused_in_words(address, tmp_path):
    client = pytest.importorskip("gradio_client", reason="needs the extra [web]")
    url, _ = address

    def asked(file: Path, *settings: object) -> str:
        page = client.Client(url, verbose=False)
        given = (*settings, *(8, 0.0, 1.0, 0)[len(settings) :])
        _, chat, _ = page.predict(
            "What?", client.handle_file(str(file)), *given, api_name="/_answer"
        )
        return str(chat[-1]["content"])

    for name, write in WRONG.items():
        write(tmp_path / name)
        said = asked(tmp_path / name)
        assert "not answered" in said
        assert name in said
    # The same pixels, as a camera stores them turned, and in 16 bits.
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))
    upright, turned, deep = (tmp_path / n for n in ("upright.png", "turned.png", "deep.png"))
    Image.fromarray(ramp).save(upright)
    stored = Image.fromarray(ramp).transpose(Image.Transpose.ROTATE_90)
    exif = stored.getexif()
    exif[0x0112] = 6
    stored.save(turned, exif=exif)
    Image.fromarray(ramp.astype(np.uint16) * 257).save(deep)
    answers = {asked(file).partition("[stopped")[0] for file in (upright, turned, deep)}
    assert len(answers) == 1
    assert "new_tokens" in asked(upright, None)
    assert "seed" in asked(upright, 8, 0.0, 1.0, 10**30)
    # Somebody who closes the page in an answer leaves the model to the next one.
    for _ in range(2):
        page = client.Client(url, verbose=False)
        file = client.handle_file(str(upright))
        page.submit("What?", file, 200, 0.0, 1.0, 0, api_name="/_answer").cancel()
        assert asked(upright).partition("[stopped")[0] in answers
