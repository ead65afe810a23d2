"""What the screens are asked on real runtimes, and what Python answers: the folder `hydra.real`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.generation import Generator

TOKENS = 64


def generators_of(bundles: Mapping[str, Path]) -> dict[str, Generator]:
    """Return Python's generators on the bundles, by runtime."""
    return {
        runtime: Generator(runtime_class(runtime).load(bundle, threads=1))
        for runtime, bundle in bundles.items()
    }


def write_tapped(
    folder: Path,
    bundles: Mapping[str, Path],
    generators: Mapping[str, Generator],
    picture: Image.Image,
    question: str,
) -> dict[str, str]:
    """Write what `RealModelTest` reads; return the expected text by runtime."""
    folder.mkdir()
    for runtime, bundle in bundles.items():
        # Links: a real bundle has hundreds of megabytes, and the app copies it in anyway.
        (folder / runtime).symlink_to(bundle.absolute(), target_is_directory=True)
    picture.save(folder / "picture.png")
    expected = {
        runtime: generator.answer(question, lambda: picture, "tapped", max_new_tokens=TOKENS).text
        for runtime, generator in generators.items()
    }
    assert all(expected.values())
    (folder / "expected.json").write_text(json.dumps({"question": question, **expected}))
    return expected
