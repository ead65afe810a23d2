from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from damage import flip_bit
from PIL import Image

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.files import cache_home
from hydra_mobile.data import prefetch
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.features import VisionFeatures


@pytest.fixture(scope="module")
def model(tiny_base):
    return load_model(tiny_base)


@pytest.fixture(scope="module")
def recipe(tiny_base):
    return MobileVLMProcessor.from_pretrained(tiny_base).image


@pytest.fixture(scope="module")
def pictures(shapes_data) -> list[Path]:
    return [shapes_data / f"{i}.png" for i in range(12)]


def alone(model, recipe, picture):
    pixels = torch.from_numpy(recipe(Image.open(picture).convert("RGB")))[None]
    with torch.no_grad():
        return model.vision_features(pixels)[0]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_batch_holds_each_pictures_features_in_its_place(model, recipe, pictures, workers):
    features = VisionFeatures(model, recipe, use_cache=False, workers=workers)
    one, two, three = pictures[4], pictures[1], pictures[7]
    wanted = [(one,), (), (two, one, three), (one,), ()]
    batch = features.batch(wanted)
    each = batch.unflatten(1, (3, -1))
    for row, own in zip(each, wanted, strict=True):
        for part, picture in zip(row, own, strict=False):
            torch.testing.assert_close(part, alone(model, recipe, picture))
        assert not row[len(own) :].any()
    assert not features.batch([(), ()]).any()
    torch.testing.assert_close(features.batch([(two,), (one,)]), each[[2, 0], [0, 0]])


def test_prefetching_changes_no_bit(model, recipe, pictures):
    plain = VisionFeatures(model, recipe, use_cache=False)
    ahead = VisionFeatures(model, recipe, use_cache=False, workers=2)
    batches = [pictures[i : i + 3] for i in range(0, 12, 3)]
    for now, coming in zip(batches, [*batches[1:], []], strict=True):
        expected = plain.batch([(image,) for image in now])
        ahead.prefetch(coming)
        assert torch.equal(ahead.batch([(image,) for image in now]), expected)


def test_announced_pictures_are_read_once_and_by_the_pool(model, recipe, pictures, monkeypatch):
    read = []
    actual = prefetch.open_picture

    def noting(image, record=""):
        read.append((image, threading.current_thread().name))
        return actual(image, record)

    monkeypatch.setattr(prefetch, "open_picture", noting)
    features = VisionFeatures(model, recipe, use_cache=False, workers=2)
    assert features.reads_ahead
    features.prefetch(pictures[:4])
    features.prefetch(pictures[2:6])
    features.batch([pictures[:2], pictures[2:6]])
    assert sorted(image for image, _ in read) == sorted(pictures[:6])
    assert {name.split("_")[0] for _, name in read} == {"pictures"}


def test_the_tower_sees_each_picture_of_a_batch_once(model, recipe, pictures, monkeypatch):
    seen = []
    actual = model.vision_features
    monkeypatch.setattr(
        model, "vision_features", lambda pixels: seen.append(len(pixels)) or actual(pixels)
    )
    VisionFeatures(model, recipe, use_cache=False).batch([pictures[:5], [], pictures[:1]])
    assert seen == [4, 1]


def test_pictures_that_nobody_asks_for_do_not_pile_up(recipe, pictures, monkeypatch):
    monkeypatch.setattr(prefetch, "MOST_ANNOUNCED", 4)
    reader = prefetch.PictureReader(recipe, 1, lambda image: "")
    reader.announce(pictures)
    assert reader.announced == pictures[:4]
    for _ in range(4):
        assert reader.pixels(pictures[4:]).shape == (8, 3, 32, 32)
        reader.announce(pictures[4:6])
        assert reader.announced == pictures[:4]
    reader.pixels(pictures[4:])
    # Five batches later none of them is expected any more.
    reader.announce(pictures[4:6])
    assert reader.announced == pictures[4:6]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_named_with_its_record(model, recipe, tmp_path, workers):
    (tmp_path / "bad.png").write_text("no picture")
    bad, absent = tmp_path / "bad.png", tmp_path / "absent.png"
    names = {bad: "r7", absent: "r9"}
    features = VisionFeatures(
        model, recipe, use_cache=False, workers=workers, record_of=names.__getitem__
    )
    features.prefetch([bad, absent])
    with pytest.raises(DataError, match=r"bad\.png.*'r7'"):
        features.batch([(bad,)])
    with pytest.raises(DataError, match=r"absent\.png.*'r9'"):
        features.batch([(absent, bad)])
    cached = VisionFeatures(model, recipe, record_of=names.__getitem__)
    with pytest.raises(DataError, match=r"absent\.png.*'r9'"):
        cached.prepare([absent], lambda done, total: None)


def test_the_cache_gives_what_the_tower_gives(model, recipe, pictures):
    features = VisionFeatures(model, recipe, workers=2)
    features.prepare(pictures, lambda done, total: None)
    rows = [pictures[:3], pictures[3:4], [], pictures[2:6]]
    computed = VisionFeatures(model, recipe, use_cache=False).batch(rows)
    # Kept in fp16.
    torch.testing.assert_close(features.batch(rows), computed, atol=1e-3, rtol=1e-3)


def stored_chunks() -> list[Path]:
    return sorted((cache_home() / "features").glob("*.npy"))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_damaged_chunk_is_computed_anew(model, recipe, pictures, share):
    features = VisionFeatures(model, recipe)
    features.prepare(pictures, lambda done, total: None)
    expected = features.batch([pictures])
    for chunk in stored_chunks():
        flip_bit(chunk, share)
    again = VisionFeatures(model, recipe)
    again.prepare(pictures, lambda done, total: None)
    assert torch.equal(again.batch([pictures]), expected)


def test_features_that_half_precision_cannot_hold_are_refused(tiny_base, recipe, pictures):
    broken = load_model(tiny_base)
    with torch.no_grad():
        for parameter in broken.vision_tower.parameters():
            parameter.mul_(1e6)
    with pytest.raises(DataError, match=r"0\.png.*not finite"):
        VisionFeatures(broken, recipe).prepare(pictures, lambda done, total: None)
