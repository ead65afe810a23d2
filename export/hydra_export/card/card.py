"""The README.md of a bundle: what it is, what it needs, how to check it and how to run it.

Written from the manifest and from the records of merge and adapter that lie beside the weights; not
named in the manifest, so that whoever publishes a bundle may edit it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_export.card.adapters import adapter_sections
from hydra_export.targets import target_of
from hydra_mobile.bundle.memory.footprint import MIB, squares_of
from hydra_mobile.core.files import read_json
from hydra_mobile.core.model_folder import MERGE_FILE

CARD = "README.md"
#: How to run a bundle here; executed by a test.
PYTHON = """\
import hydra_mobile as hm

model = hm.load("path/to/this/folder")
print(model.ask("picture.png", "What is in the image?").text)
"""
_FITS = {
    "pad": "padded to a square with the mean color (the image in the middle)",
    "crop": "resized by its shortest side and cut to the middle square",
    "stretch": "stretched to a square",
    "tiles": "stretched to a grid of squares, with an overview behind them",
}
#: First letters of a base's name -> what is known of its parts' licences.
_LICENSES = {
    "smol": "SmolLM2-135M (Hugging Face) and EfficientNet-Lite0 (timm's weights) are published "
    "under Apache-2.0.",
    "tiny": "Random weights made by hydra-mobile for tests; nothing in them is anyone's.",
    "mobilevlm": "MobileVLM and MobileLLaMA are published under Apache-2.0; the CLIP tower "
    "(OpenAI) under MIT.",
    "mobilellama": "MobileLLaMA is published under Apache-2.0; the CLIP tower (OpenAI) under MIT.",
}


def _front_matter(manifest: Mapping[str, Any], base: str) -> str:
    """Return what the Hugging Face hub reads of a card."""
    lines = ["library_name: hydra-mobile", "pipeline_tag: image-text-to-text"]
    # A name without a slash is not a hub id, and those of merged models end in -merged.
    if "/" in base and not base.endswith("-merged"):
        lines.append(f"base_model: {base}")
    lines += ["tags:", "- hydra-mobile", f"- {manifest['runtime']}", f"- {manifest['target']}"]
    return "\n".join(["---", *lines, "---"])


def bundle_card(manifest: Mapping[str, Any], adapter: Mapping[str, Any] | None = None) -> str:
    """Return the card as Markdown.

    Args:
        manifest: of the bundle.
        adapter: what `adapter_summary` returns; None when no adapter was merged.
    """
    target = target_of(manifest)
    base = manifest["sources"].get("base") or "an unnamed base"
    sections = [
        _front_matter(manifest, str(base)),
        f"# `{base}` for {target.title}, preset {manifest['preset']['name']}",
        f"A MobileVLM (image and question in, text out), exported by hydra-mobile for target "
        f"`{manifest['target']}` on {manifest['created'][:10]}.",
        _origin(manifest, adapter),
        _precision(manifest),
        _sizes(manifest),
        _template(manifest),
        _picture(manifest),
        "## Check it\n\n```sh\nhydra-mobile verify path/to/this/folder\n```\n\nIt replays the "
        "golden images of this folder and compares with what the merged model computed.",
        # The other lines show pictures of one square.
        *_code(
            {
                "Python": PYTHON,
                **({} if "tiles" in manifest["image"] else target.snippets(manifest)),
            }
        ),
        *adapter_sections(manifest),
        _license(str(base)),
    ]
    return "\n\n".join(sections) + "\n"


def adapter_summary(merged_folder: Path) -> dict[str, Any] | None:
    """Return what is known of the adapter that was merged into `merged_folder`, None if nothing.

    Returns:
        `files` (name -> sha256), `parameters`, `modules`, and `ranks` (rank -> modules) where the
        adapter still lies beside the merged folder.
    """
    if not (merged_folder / MERGE_FILE).is_file():
        return None
    merge = read_json(merged_folder / MERGE_FILE, "the record of a merge")
    summary = {
        "files": merge["sources"]["adapter_files"],
        "parameters": merge["lora_parameters"],
        "modules": len(merge["merged"]),
        "replaced": len(merge["replaced"]),
    }
    record_file = merged_folder.parent / "adapter" / "hydra.json"
    if record_file.is_file():
        record = read_json(record_file, "the record of a HyDRA adapter")
        # A run may have been trained again since; another adapter's ranks would be a lie.
        if record["files"] == summary["files"]:
            summary["ranks"] = dict(sorted(Counter(record["ranks"].values()).items()))
    return summary


def _origin(manifest: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> str:
    sources = manifest["sources"]
    lines = [
        "## Where it comes from",
        "",
        f"- Base: `{sources.get('base')}`, weights sha256 `{sources.get('base_sha256')}`.",
    ]
    if "adapters" not in manifest:
        lines.append(f"- Merged weights: sha256 `{sources.get('merged_sha256')}`.")
    if "adapters" in manifest:
        lines.append("- The program is of the base alone; adapters are files beside it.")
    elif adapter is None:
        lines.append("- Adapter: none was merged.")
    else:
        lines.append(
            f"- Adapter: {adapter['parameters']:,} LoRA parameters in {adapter['modules']} linears,"
            f" merged in fp32; {adapter['replaced']} tensors trained beside it."
        )
        lines += [f"  - `{name}` sha256 `{digest}`" for name, digest in adapter["files"].items()]
        if "ranks" in adapter:
            ranks = ", ".join(f"{rank}: {count}" for rank, count in adapter["ranks"].items())
            lines.append(f"  - Ranks (rank: linears): {ranks}.")
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    lines.append(f"- Made with {versions or 'unrecorded versions'}.")
    return "\n".join(lines)


def _precision(manifest: Mapping[str, Any]) -> str:
    preset = manifest["preset"]
    rows = [
        f"| {part} | {preset[part]} |"
        for part in ("vision", "projector", "embedding", "decoder", "head")
    ]
    lines = ["## Precision", "", "| part | asked for |", "| --- | --- |", *rows, ""]
    lines.append(f"4-bit groups hold {preset['group_size']} weights.")
    if manifest["fallbacks"]:
        lines += ["What differs from that:", ""]
        lines += [f"- {sentence}" for sentence in manifest["fallbacks"]]
    else:
        lines.append("Nothing fell back to another precision.")
    return "\n".join(lines)


def _sizes(manifest: Mapping[str, Any]) -> str:
    limits, shapes = manifest["limits"], manifest["shapes"]
    squares = squares_of(manifest)
    rows = [
        f"| `{name}` | {entry['role']} | {entry['bytes'] / 1e6:,.2f} |"
        for name, entry in manifest["files"].items()
        if not str(entry["role"]).startswith("golden")
    ]
    lines = ["## Sizes and limits", "", "| file | role | MB |", "| --- | --- | ---: |", *rows, ""]
    lines.append(
        f"The cache holds {limits['max_context']} tokens, an image is "
        f"{squares * shapes['num_image_tokens']} of them; one decoder call takes at most "
        f"{limits['max_prefill']} tokens, longer prompts go in several calls."
    )
    memory = manifest.get("footprint")
    if memory:
        fits = ", ".join(f"{gib:g} GiB" for gib in memory["fits_gib"]) or "none of 4 to 12 GiB"
        lines += [
            "",
            f"Memory ({memory['basis']}): {memory['resting'] / MIB:.0f} MiB while it waits, "
            f"{memory['peak'] / MIB:.0f} MiB at its peak, without the app. Phones that it fits: "
            f"{fits} (`hydra-mobile estimate BUNDLE` says on which assumptions).",
        ]
    return "\n".join(lines)


def _template(manifest: Mapping[str, Any]) -> str:
    t = manifest["template"]
    before = t["start"] + t["user_prefix"] + t.get("image_prefix", "")
    after = f"{t['image_suffix']}{{question}}{t['user_suffix']}{t['answer_prefix']}"
    way = (
        "each side of the image is tokenized as one string"
        if t.get("whole")
        else "each piece of the template is tokenized by itself"
    )
    bos = ", the tokenizer's BOS token first" if t.get("bos") else ", without a BOS token"
    return "\n".join(
        [
            "## Prompt",
            "",
            f"Template `{t['name']}`: `before`, then the embeddings of the image, then `after`; "
            f"{way}{bos}. Generation ends at token id "
            f"{' or '.join(map(str, manifest['stop_ids']))}.",
            "",
            "```text",
            f"before: {before!r}",
            f"after:  {after!r}",
            "```",
        ]
    )


def _picture(manifest: Mapping[str, Any]) -> str:
    image = manifest["image"]
    mean = ", ".join(f"{value:.6g}" for value in image["mean"])
    std = ", ".join(f"{value:.6g}" for value in image["std"])
    return (
        "## Image\n\n"
        f"RGB, {_FITS[image['fit']]}, {image['size']} x {image['size']} pixels "
        f"({image['resample']}), scaled to [0, 1], minus the mean ({mean}), divided by ({std}); "
        f"float32 [1, 3, {image['size']}, {image['size']}], channels R, G, B."
    )


def _code(snippets: Mapping[str, str]) -> list[str]:
    sections = []
    for language, code in snippets.items():
        name = language.partition(",")[0]
        note = "" if name == "Python" else " Not compiled here; greedy, one image."
        sections.append(f"## Run it from {language}\n\n```{name.lower()}\n{code}```")
        if note:
            sections.append(note.strip())
    return sections


def _license(base: str) -> str:
    known = next((text for name, text in _LICENSES.items() if base.startswith(name)), None)
    words = known or (
        f"Nothing is recorded about the license of `{base}`; look it up where it was published "
        "before you pass this folder on."
    )
    return (
        f"## License\n\n{words} Data that the adapter was trained on may bring terms of its own. "
        "hydra-mobile's license covers its code, not these weights."
    )
