"""How much of the difference between arm64 and x86-64 in quantized programs is rounding?

The same program on both processors, on one picture and question, once in each precision. The
decoder is built so that it also gives the hidden state behind each of its layers, for the last
position of the prompt; the encoder's rows are compared by themselves, and the decoder gets the same
rows everywhere. Beside each comparison stands a control on one processor: the same input times
1 + 1.2e-7, the least change of a float32. Where the two processors differ as that nudge does,
rounding is all of it.

    x86-64           ExecuTorch's wheel, the runner for this machine
    android arm64    ExecuTorch's Android library in the runner that a phone gets, under qemu

Distances are root mean squares of the difference over those of the values. Nothing is timed.
"""

from __future__ import annotations

import argparse
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from android_demo.tools.desktop import arm64
from hydra_export.export import export_bundle
from hydra_export.graphs.decoder import TextDecoder
from hydra_export.targets import Limits
from hydra_export.targets.executorch import program
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.devices import native_build
from hydra_mobile.devices.native_process import NativeProcess
from hydra_mobile.runtimes.native import NativeRuntime

Array = NDArray[np.float32]
NUDGE = np.float32(1 + 1.2e-7)
QUESTION = "What is in the image?"


class TracedDecoder(TextDecoder):
    """The decoder, which gives [1, 1, layers * hidden + V]: the state behind each layer first."""

    def forward(self, embeddings: Tensor, input_pos: Tensor) -> Tensor:
        """See `TextDecoder.forward`."""
        seen: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _module, _inputs, out: seen.append(out[:, -1:, :]))
            for layer in self.layers
        ]
        try:
            logits = super().forward(embeddings, input_pos)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([*seen, logits], dim=-1)


def processors() -> dict[str, list[str]]:
    """Return commands that start a runner, by the name of what computes."""
    return {
        "x86-64": NativeRuntime.command(),
        "android arm64": arm64.command(native_build.android_runner()),
    }


def computed(
    command: Sequence[str], bundle: Path, pixels: Array, rows: Array | None, factor: float
) -> dict[str, Array]:
    """Return the encoder's rows, and the decoder's states and logits for given rows.

    Args:
        command: starts a runner.
        bundle: its program has a `TracedDecoder`.
        pixels: of the picture.
        rows: what the decoder gets; None: what this encoder gave.
        factor: what pixels and rows are multiplied by.
    """
    opened = Bundle.open(bundle)
    prompt = opened.processor().prompt(QUESTION)
    process = NativeProcess([*command, "--bundle", str(bundle), "--threads", "1", "--serve"])
    try:
        own = process.call("encode", (pixels * np.float32(factor)).astype(np.float32))
        before = process.call("embed", ids=prompt.before)
        after = process.call("embed", ids=prompt.after)
        picture = own if rows is None else rows
        inputs = np.concatenate([before, picture, after]) * np.float32(factor)
        out = process.call("decode", inputs.astype(np.float32), position=0)
    finally:
        process.close()
    return {"rows": own, "inputs": inputs, "out": out}


def distance(ours: Array, theirs: Array) -> float:
    """Return the root mean square of the difference over that of `theirs`."""
    difference = ours.astype(np.float64) - theirs
    return float(np.sqrt(np.mean(difference**2) / np.mean(theirs.astype(np.float64) ** 2)))


def compared(found: Mapping[str, Array], reference: Mapping[str, Array], bundle: Bundle) -> Any:
    """Compare what two processors computed, layer by layer."""
    layers, hidden = bundle.shapes["layers"], bundle.shapes["hidden_size"]
    states, expected = (value["out"][: layers * hidden] for value in (found, reference))
    pairs = zip(states.reshape(layers, -1), expected.reshape(layers, -1), strict=True)
    logits, wanted = (value["out"][layers * hidden :] for value in (found, reference))
    top = np.argsort(wanted)[::-1]
    return {
        "encoder": distance(found["rows"], reference["rows"]),
        "layers": [distance(ours, theirs) for ours, theirs in pairs],
        "logits": distance(logits, wanted),
        "largest_change_of_a_logit": float(np.max(np.abs(logits - wanted))),
        "same_first_token": bool(np.argmax(logits) == top[0]),
        "lead_of_the_first_token": float(wanted[top[0]] - wanted[top[1]]),
    }


def measure(model: Path, preset: str, work: Path, picture: Image.Image) -> dict[str, Any]:
    """Export one preset and compare the processors on it."""
    folder = work / preset
    shutil.rmtree(folder, ignore_errors=True)
    original = program.TextDecoder
    program.TextDecoder = TracedDecoder  # type: ignore[misc]
    try:
        export_bundle(
            model,
            target="android",
            preset=preset,
            out=folder,
            golden_inputs=[(picture, QUESTION)],
            limits=Limits(max_context=128, max_prefill=96),
        )
    finally:
        program.TextDecoder = original  # type: ignore[misc]
    bundle = Bundle.open(folder)
    pixels = cast(Array, bundle.processor().preprocess(picture))
    commands = processors()
    reference = computed(commands["x86-64"], folder, pixels, None, 1)
    given = reference["rows"]
    row: dict[str, Any] = {"preset": preset, "processors": {}}
    nudged = computed(commands["x86-64"], folder, pixels, given, float(NUDGE))
    row["nudge on x86-64"] = compared(nudged, reference, bundle)
    for name in commands.keys() - {"x86-64"}:
        found = computed(commands[name], folder, pixels, given, 1)
        again = computed(commands[name], folder, pixels, given, float(NUDGE))
        row["processors"][name] = compared(found, reference, bundle)
        row[f"nudge on {name}"] = compared(again, found, bundle)
    shutil.rmtree(folder)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a merged folder")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=["fp32", "int8", "int4"])
    parser.add_argument("--work", type=Path, default=Path("runs/processors"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("processors.json"))
    arguments = parser.parse_args()
    quiet()
    picture = Image.open(arguments.picture).convert("RGB")
    rows = []
    for preset in arguments.presets:
        arguments.work.mkdir(parents=True, exist_ok=True)
        rows.append(row := measure(arguments.model, preset, arguments.work, picture))
        for name, found in row["processors"].items():
            nudge = row["nudge on x86-64"]
            print(
                f"{preset} {name}: encoder {found['encoder']:.1e} ({nudge['encoder']:.1e}), "
                f"layers {found['layers'][0]:.1e} to {found['layers'][-1]:.1e} "
                f"({nudge['layers'][0]:.1e} to {nudge['layers'][-1]:.1e}), "
                f"logits {found['logits']:.1e} ({nudge['logits']:.1e})",
                flush=True,
            )
        write_json(arguments.out, {"machine": platform.machine(), "rows": rows})


if __name__ == "__main__":
    main()
