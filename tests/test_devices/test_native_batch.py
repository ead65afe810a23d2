from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import edited_manifest
from PIL import Image
from safetensors.numpy import load_file

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import sha256_of
from hydra_mobile.devices.batch_format import Ask, write_requests
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.tiles import Tiles
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.generation import Generator

Asked = Callable[[list[dict[str, Any]]], Path]


def run(binary: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [str(binary), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def answer(
    binary: Path, bundle: Path, requests: Path, answers: Path
) -> subprocess.CompletedProcess[bytes]:
    given = ("--bundle", bundle, "--requests", requests, "--answers", answers, "--threads", "1")
    return run(binary, *given)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def by_id(file: Path) -> dict[str, dict[str, Any]]:
    found = [line for line in lines(file) if "id" in line]
    assert len({line["id"] for line in found}) == len(found), "an answer stands there twice"
    return {line["id"]: line for line in found}


def test_golden_answers_and_logits(
    binary: Path,
    bundle: Path,
    golden_requests: list[dict[str, Any]],
    asked: Asked,
    tmp_path: Path,
) -> None:
    out = tmp_path / "answers.jsonl"
    done = answer(binary, bundle, asked(golden_requests), out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    found = by_id(out)
    vectors = load_file(bundle / "golden.safetensors")
    for index, case in enumerate(json.loads((bundle / "golden.json").read_text())["cases"]):
        assert found[f"golden-{index}"]["ids"] == case["ids"]
        logits = np.fromfile(tmp_path / f"{index}.f32", np.float32)
        np.testing.assert_allclose(logits, vectors[f"{index}.logits"], atol=1e-4)
        # The picture's prefix stays: neither encoded nor computed a second time.
        assert found[f"golden-{index}"]["encode_seconds"] > 0
        assert found[f"again-{index}"]["encode_seconds"] is None
        tokens = found[f"again-{index}"]["prefill_tokens"]
        assert tokens == len(case["after"]) - 3
        assert found[f"golden-{index}"]["prefill_tokens"] == len(case["before"] + case["after"]) + 4
    assert len({tuple(line["ids"]) for line in found.values()}) == 5
    session, *_, end = lines(out)
    assert session["session"]["load_seconds"] > 0
    assert session["session"]["threads"] == 1
    assert end == {"end": {"answered": 5, "skipped": 0}}


def test_a_killed_run_goes_on_without_loss_or_double(
    binary: Path,
    bundle: Path,
    golden_requests: list[dict[str, Any]],
    asked: Asked,
    tmp_path: Path,
) -> None:
    requests, out = asked(golden_requests), tmp_path / "answers.jsonl"
    assert answer(binary, bundle, requests, out).returncode == 0
    whole = out.read_bytes()
    expected = {key: line["ids"] for key, line in by_id(out).items()}
    # Cut anywhere, as a kill leaves it: within a line, behind one, within the first.
    for cut in range(0, len(whole), 211):
        out.write_bytes(whole[:cut])
        assert answer(binary, bundle, requests, out).returncode == 0
        assert {key: line["ids"] for key, line in by_id(out).items()} == expected
        assert sum(lines(out)[-1]["end"].values()) == 5


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear", "lanczos"])
def test_pixels_equal_pythons_bit_for_bit(
    binary: Path, copied: Callable[..., Path], fit: Any, resample: Any, tmp_path: Path
) -> None:
    mean, std = (0.481, 0.457, 0.408), (0.268, 0.261, 0.275)
    recipe = ImagePreprocessing(48, mean, std, fit, resample)
    folder = copied(lambda manifest: manifest.update(image=recipe.to_dict()))
    rng = np.random.default_rng(3)
    for size in [(48, 48), (31, 31), (200, 90), (90, 201), (7, 5), (48, 30), (1, 1), (900, 2)]:
        picture = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        picture.save(tmp_path / "p.png")
        done = run(binary, "--bundle", folder, "--pixels", tmp_path / "p.png")
        assert done.returncode == 0, done.stderr
        found = np.frombuffer(done.stdout, np.float32).reshape(3, 48, 48)
        np.testing.assert_array_equal(found, recipe(picture), err_msg=f"{size}")


@pytest.mark.parametrize("overview", ["grid", "image"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear", "lanczos"])
def test_squares_of_a_picture_equal_pythons_bit_for_bit(
    binary: Path, copied: Callable[..., Path], overview: Any, resample: Any, tmp_path: Path
) -> None:
    mean, std = (0.481, 0.457, 0.408), (0.268, 0.261, 0.275)
    tiles = Tiles(2, 3, overview, ("",) * 7)
    recipe = ImagePreprocessing(24, mean, std, "tiles", resample, tiles)
    folder = copied(lambda manifest: manifest.update(image=recipe.to_dict()))
    rng = np.random.default_rng(3)
    for size in [(72, 48), (24, 24), (200, 90), (90, 201), (7, 5), (1, 1), (900, 2)]:
        picture = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        picture.save(tmp_path / "p.png")
        done = run(binary, "--bundle", folder, "--pixels", tmp_path / "p.png")
        assert done.returncode == 0, done.stderr
        found = np.frombuffer(done.stdout, np.float32).reshape(7, 3, 24, 24)
        np.testing.assert_array_equal(found, recipe(picture), err_msg=f"{size}")


@pytest.fixture
def tiled(copied: Callable[..., Path]) -> Path:
    """The bundle as one that reads three squares of a picture, with text before each."""
    tiles = {"rows": 1, "columns": 2, "overview": "image", "texts": ["left", " right ", "all"]}
    return copied(lambda manifest: manifest["image"].update(fit="tiles", tiles=tiles))


def test_pictures_in_tiles_are_answered_as_in_python(
    binary: Path, tiled: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)) for _ in range(2)
    ]
    asks = [
        Ask(f"{number} {question}", question, lambda p=picture: p, f"{number}", 8, stop=False)
        for number, picture in enumerate(pictures)
        for question in ("a", "Is it?")
    ]
    processor = Bundle.open(tiled).processor()
    write_requests(tmp_path, asks, processor)
    write_requests(tmp_path / "raw", asks, processor, processor.image)
    found = []
    for folder in (tmp_path, tmp_path / "raw"):
        done = answer(binary, tiled, folder / "requests.jsonl", folder / "answers.jsonl")
        assert done.returncode == 0, done.stderr
        found.append(by_id(folder / "answers.jsonl"))
    generator = Generator(runtime_class("executorch").load(tiled, threads=1))
    answers = set()
    for ask in asks:
        wanted = generator.answer(
            ask.question, ask.image, ask.image_key, max_new_tokens=8, stop=False
        )
        answers.add(tuple(wanted.ids))
        for told in found:
            assert told[ask.key]["ids"] == wanted.ids
            assert told[ask.key]["prefill_tokens"] == wanted.prefill_tokens
            assert (told[ask.key]["encode_seconds"] is None) == (wanted.encode_seconds is None)
    assert len(answers) == 4


def test_texts_of_tiles_are_counted_and_all_there(
    binary: Path, tiled: Path, asked: Asked, tmp_path: Path
) -> None:
    golden = str(tiled / "golden" / "0.png")
    request = {"id": "a", "image": golden, "before": [1], "after": [2], "tiles": [[], [3], [4, 5]]}
    # Three squares of four tokens, and five tokens of text.
    fitting = {**request, "before": [1] * (79 - 12 - 4)}
    done = answer(binary, tiled, asked([fitting]), tmp_path / "fits.jsonl")
    assert done.returncode == 0, done.stderr
    for change, message in (
        ({"before": [1] * (80 - 12 - 4)}, "the prompt has 80 tokens"),
        ({"tiles": [[], [3]]}, "key `tiles` has 2 texts, the bundle reads 3 squares"),
        ({"tiles": [[], [3], [320]]}, "token id 320 lies outside"),
        ({"tiles": None}, "requests.jsonl:1"),
    ):
        done = answer(binary, tiled, asked([{**request, **change}]), tmp_path / "a.jsonl")
        assert done.returncode == 2
        assert message in done.stderr.decode()
    del request["tiles"]
    done = answer(binary, tiled, asked([request]), tmp_path / "a.jsonl")
    assert done.returncode == 2
    assert "tiles" in done.stderr.decode()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"texts": ["", ""]}, "texts"),
        ({"rows": 0}, "rows"),
        ({"columns": 65}, "columns"),
        ({"overview": "none"}, "overview"),
    ],
)
def test_tiles_that_cannot_be_are_refused(
    binary: Path, tiled: Path, change: dict[str, Any], word: str
) -> None:
    with edited_manifest(tiled) as manifest:
        manifest["image"]["tiles"].update(change)
    done = run(binary, "--bundle", tiled, "--pixels", tiled / "golden" / "0.png")
    assert done.returncode == 2
    assert word in done.stderr.decode()


def test_raw_pixels_and_modes_of_pictures(
    binary: Path, bundle: Path, asked: Asked, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    recipe = ImagePreprocessing.from_dict(
        json.loads((bundle / "manifest.json").read_text())["image"], ""
    )
    requests = []
    for mode, bands in (("L", 1), ("RGBA", 4), ("RGB", 3)):
        values = rng.integers(0, 256, (40, 30, bands), dtype=np.uint8)
        picture = Image.fromarray(values.squeeze(), mode)
        picture.save(tmp_path / f"{mode}.png")
        recipe(picture).tofile(tmp_path / f"{mode}.f32")
        for kind in ("png", "f32"):
            image = {"image": f"{mode}.{kind}", "before": [1, 87], "after": [201, 5]}
            requests.append({"id": f"{mode}-{kind}", **image, "logits": f"{mode}-{kind}"})
    done = answer(binary, bundle, asked(requests), tmp_path / "a.jsonl")
    assert done.returncode == 0, done.stderr
    for mode in ("L", "RGBA", "RGB"):
        png, raw = (np.fromfile(tmp_path / f"{mode}-{k}", np.float32) for k in ("png", "f32"))
        np.testing.assert_array_equal(png, raw)
    Image.fromarray(values[..., :3]).save(tmp_path / "p.jpg", quality=95)
    done = run(binary, "--bundle", bundle, "--pixels", tmp_path / "p.jpg")
    with Image.open(tmp_path / "p.jpg") as opened:
        difference = np.abs(np.frombuffer(done.stdout, np.float32) - recipe(opened).ravel())
    assert difference.mean() < 0.05


PROMPT = {"id": "a", "before": [1, 2]}


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([{"before": [1]}], r"requests.jsonl:1: .*'id' not found"),
        ([PROMPT, PROMPT], "requests.jsonl:2: the id `a` stands there twice"),
        ([{"id": "a", "before": [1, 320]}], "token id 320 lies outside of 0..319"),
        ([{"id": "a", "before": []}], "the prompt is empty"),
        ([{"id": "a", "before": [1] * 80}], "the prompt has 80 tokens; the program holds 80"),
        ([{**PROMPT, "image": "no.png", "after": [3]}], "no.png is missing: expected an image"),
        ([{**PROMPT, "image": "requests.jsonl", "after": []}], "is no readable PNG or JPEG"),
        ([{**PROMPT, "max_new_tokens": 0}], "max_new_tokens is less than 1"),
    ],
)
def test_wrong_requests_are_told_by_line(
    binary: Path,
    bundle: Path,
    asked: Asked,
    requests: list[dict[str, Any]],
    message: str,
    tmp_path: Path,
) -> None:
    import re

    done = answer(binary, bundle, asked(requests), tmp_path / "a.jsonl")
    assert done.returncode == 2
    assert re.search(message, done.stderr.decode()), done.stderr


def test_a_full_disk_and_a_missing_folder(
    binary: Path, bundle: Path, asked: Asked, tmp_path: Path
) -> None:
    requests = asked([PROMPT])
    done = answer(binary, bundle, requests, Path("/dev/full"))
    assert done.returncode == 4
    assert b"/dev/full" in done.stderr
    done = answer(binary, bundle, requests, tmp_path / "none" / "a.jsonl")
    assert done.returncode == 4
    assert b"a.jsonl" in done.stderr


def test_bundles_that_it_cannot_run(
    binary: Path, copied: Callable[..., Path], asked: Asked, tmp_path: Path
) -> None:
    requests, out = asked([PROMPT]), tmp_path / "a.jsonl"
    folder = copied(lambda manifest: manifest["details"]["required_ops"].append("llama::new.out"))
    done = answer(binary, folder, requests, out)
    assert done.returncode == 2
    assert b"llama::new.out" in done.stderr
    shutil.rmtree(folder)

    folder = copied()
    with (folder / "model.pte").open("r+b") as file:
        file.seek(4)
        file.write(b"junk")
    # A program that was made wrong, and not altered.
    with edited_manifest(folder) as manifest:
        manifest["files"]["model.pte"]["sha256"] = sha256_of(folder / "model.pte")
    done = answer(binary, folder, requests, out)
    assert done.returncode == 3
    assert b"InvalidProgram" in done.stderr

    (folder / "model.pte").write_bytes(b"short")
    done = answer(binary, folder, requests, out)
    assert done.returncode == 2
    assert b"model.pte has 5 bytes" in done.stderr

    (folder / "manifest.json").unlink()
    done = answer(binary, folder, requests, out)
    assert done.returncode == 2
    assert b"manifest.json" in done.stderr
    assert not out.exists()


def test_answers_of_another_program_are_not_gone_on_with(
    binary: Path, bundle: Path, asked: Asked, tmp_path: Path
) -> None:
    out = tmp_path / "a.jsonl"
    out.write_text(json.dumps({"session": {"program_sha256": "0" * 64}}) + "\n")
    done = answer(binary, bundle, asked([PROMPT]), out)
    assert done.returncode == 2
    assert b"a.jsonl:1:" in done.stderr


def test_arguments(binary: Path, bundle: Path) -> None:
    assert run(binary, "--version").stdout == b"hydra-runner, executorch 1.5.1+cpu\n"
    for wrong, message in [
        (["--bundel", bundle], b"`--bundel`"),
        (["--bundle"], b"--bundle"),
        (["--bundle", bundle], b"usage:"),
        (["--bundle", bundle, "--serve", "--threads", "two"], b"`two`"),
    ]:
        done = run(binary, *wrong)
        assert done.returncode == 2
        assert message in done.stderr


def test_too_little_memory_has_its_exit_code(binary: Path, bundle: Path, asked: Asked) -> None:
    requests = asked([{"id": "a", "before": [1, 2, 3]}])
    told = ""

    def code(kilobytes: int) -> int:
        nonlocal told
        out = requests.with_name(f"{kilobytes}.jsonl")
        given = f"--bundle {bundle} --requests {requests} --answers {out} --threads 1"
        command = f"ulimit -v {kilobytes}; exec {binary} {given}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, timeout=60)
        told += done.stderr.decode() if done.returncode == 5 else ""
        return done.returncode

    enough = next(limit for limit in range(8_000, 400_000, 4_000) if code(limit) == 0)
    # Below it the model does not fit, then not even the libraries do. Some of their allocations,
    # of threads for example, abort where they fail: nothing that a program could tell.
    codes = [code(limit) for limit in range(enough - 4_000, enough, 100)]
    assert set(codes) <= {0, 5, 127, -signal.SIGABRT}
    assert 5 in codes
    assert "no memory left" in told
