"""The README.md of an adapter folder: what it is and how to load it with stock peft."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_mobile.adapters.compensation import words


def model_card(
    record: Mapping[str, Any],
    extra_files: Sequence[str],
    load_base: Sequence[str] = (),
    pipeline_tag: str = "",
) -> str:
    """Return the card as Markdown.

    Args:
        record: the content of hydra.json.
        extra_files: names of safetensors files with whole tensors trained along with the adapter.
        load_base: lines of Python that load the base as `base`.
        pipeline_tag: the hub's name of the model's task, "" where it is not known.
    """
    base, counts = record["base"], record["parameters"]
    # The hub checks this key, and a name without a slash is not a hub id.
    hub = f"base_model: {base['name']}\n" if "/" in base["name"] else ""
    task = f"pipeline_tag: {pipeline_tag}\n" if pipeline_tag else ""
    of_base = f"- base_model:adapter:{base['name']}\n" if hub else ""
    loading = "\n".join(load_base) or "base = ...  # the base model named above"
    histogram = Counter(record["ranks"].values())
    rows = "\n".join(f"| {rank} | {histogram[rank]} |" for rank in sorted(histogram))
    share = 100 * counts["lora"] / counts["lora_reference"]
    return f"""---
library_name: peft
{hub}{task}tags:
{of_base}- lora
- transformers
- hydra-mobile
---

# LoRA with HyDRA ranks for `{base["name"]}`

A plain peft LoRA adapter whose rank differs from module to module, trained with hydra-mobile, an
independent reconstruction of HyDRA. Base weights: sha256 `{base["sha256"]}`.

- LoRA parameters: {counts["lora"]:,}, which is {share:.2f}% of the {counts["lora_reference"]:,}
  of uniform LoRA of rank {record["r_ref"]}.
- Scale {_of_modules(record)} in training: {record["scale"]:g}. It is folded into `lora_B`, so that
  `lora_alpha / rank` reproduces it; readers need nothing but peft.

| rank | modules |
| ---: | ---: |
{rows}

## Load it

```python
from peft import PeftModel

{loading}{_extra_code(extra_files)}
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

{_extra_words(extra_files)}This folder is for inference, merging and exchange; training continues
from a run's own checkpoints.

### Framework versions

- PEFT {importlib.metadata.version("peft")}
"""


def _of_modules(record: Mapping[str, Any]) -> str:
    """Return which modules had the record's scale."""
    r_ref = record["r_ref"]
    falls = words(record.get("compensate", "neither"), r_ref)
    return f"of a module of rank {r_ref} ({falls})" if falls else "of every module"


def _extra_code(files: Sequence[str]) -> str:
    if not files:
        return ""
    lines = [
        f'base.load_state_dict(load_file("path/to/this/folder/{file}"), strict=False)'
        for file in files
    ]
    return "\nfrom safetensors.torch import load_file\n\n" + "\n".join(lines)


def _extra_words(files: Sequence[str]) -> str:
    if not files:
        return ""
    names = " and ".join(f"`{file}`" for file in files)
    return (
        f"{names} was trained along with the adapter and replaces tensors of the base, the "
        "projector's for example. peft does not load it: load it as shown, before peft wraps the "
        "model. `hydra-mobile merge` does both and writes one folder.\n\n"
    )
