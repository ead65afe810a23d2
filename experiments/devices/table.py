"""The table of `device_parity.json`: a pure function of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.shared.markdown import table

Result = Mapping[str, Any]


def render(value: Result) -> str:
    """Return how many answers of each form of the C++ runner equal the Python runtime's."""
    titles = ["equal to the Python runtime", "C++ runner, x86-64", "C++ runner, arm64"]
    forms = ("native", "emulator", "control_pixels_times_1_plus_1e-7")
    lines = [
        [row["preset"], *(f"{row[f]['equal_ids']} of {row[f]['answers']}" for f in forms)]
        for row in value["rows"]
    ]
    return table([*titles, "the control"], lines)


#: Key of `routes.json` -> title.
_ROUTES = {
    "app_jvm": "the app's code, JVM, Android's x86-64 library",
    "runner_x86_64": "C++ runner, x86-64",
    "runner_android_arm64": "C++ runner for Android arm64, under qemu",
    "executorch_own_runner": "ExecuTorch's own MultimodalRunner",
    "python": "Python, as `evaluate`",
    "python_nudged": "the control: Python, pixels times 1 + 1e-7",
}


def render_routes(value: Result) -> str:
    """Return how many golden answers each route gives as the trained model does."""
    rows = value["bundles"]
    lines = [
        [
            title,
            *(
                f"{row['equal'][route]} of {row['of']}" if route in row["equal"] else "-"
                for row in rows
            ),
        ]
        for route, title in _ROUTES.items()
    ]
    return table(["golden answers", *(row["preset"] for row in rows)], lines)


_LIBRARIES = {"host": "the library of `evaluate`", "android": "Android's x86-64 library"}


def render_app_loop(value: Result) -> str:
    """Return how many answers of the app's code are those of `evaluate`, text for text."""
    lines = [
        [
            f"{row['preset']}, {row['runtime']}",
            _LIBRARIES[kind],
            f"{found['equal_texts']} of {found['questions']}",
            f"{found['largest_change_of_margin']:.4f}",
        ]
        for row in value["bundles"]
        for kind, found in row["app"].items()
    ]
    return table(["bundle", "the app's code on", "equal texts", "largest change of a lead"], lines)


def render_apk_sizes(value: Result) -> str:
    """Return the size of each kind of APK and what takes it, in MB."""
    kinds = ("libexecutorch_jni.so", "libonnxruntime.so", "classes", "model")
    titles = ["ABIs", "runtimes", "model", "APK, MB", *("ExecuTorch", "ONNX Runtime", "classes")]
    lines = []
    for row in value["rows"]:
        sizes = [_part(row["parts"], kind) for kind in kinds]
        lines.append(
            [
                ", ".join(row["abis"]),
                ", ".join(row["runtimes"]),
                f"{row['model']}, {sizes[-1]}" if row["model"] else "none",
                f"{row['bytes'] / 1e6:.1f}",
                *sizes[:-1],
            ]
        )
    return table(titles, lines)


def _part(parts: Mapping[str, int], name: str) -> str:
    found = [size for part, size in parts.items() if part.rpartition("/")[2] == name]
    return f"{sum(found) / 1e6:.1f}" if found else "-"


def render_processors(value: Result) -> str:
    """Return distances of the two processors beside what a nudge does on one of them."""
    titles = ["relative distance", "encoder", "first layer", "last layer", "logits", "same token"]
    lines = []
    for row in value["rows"]:
        compared = [
            (f"{row['preset']}, {name} to x86-64", found)
            for name, found in row["processors"].items()
        ]
        compared.append((f"{row['preset']}, a nudge on x86-64", row["nudge on x86-64"]))
        for title, found in compared:
            numbers = [found["encoder"], found["layers"][0], found["layers"][-1], found["logits"]]
            same = "yes" if found["same_first_token"] else "no"
            lines.append([title, *(f"{number:.1e}" for number in numbers), same])
    return table(titles, lines)
