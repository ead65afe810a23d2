"""The README.md of a merged model: what it is, and how transformers and a phone run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_mobile.models.registry import BASES

CARD = "README.md"


def loading_code(base: str) -> list[str]:
    """Return lines of Python that load a base as `base` with transformers.

    Args:
        base: name of the base, or its folder, of which a card tells no more than that it is one.
    """
    imports = ["import hydra_mobile  # registers the model class with transformers"]
    folder = '"path/to/the/base"'
    if base in BASES:
        imports.append("from hydra_mobile.models.registry import base_folder")
        folder = f'base_folder("{base}")'
    imports.append("from transformers import AutoModelForImageTextToText")
    return [*imports, "", f"base = AutoModelForImageTextToText.from_pretrained({folder})"]


def merged_card(sources: Mapping[str, Any], training: str, template: str) -> str:
    """Return the card as Markdown.

    Args:
        sources: of merge.json; its `base` has name and sha256.
        training: a sentence on how the weights came about.
        template: name of the prompt template.
    """
    base = sources["base"]
    # The hub checks this key, and a name without a slash is not a hub id.
    hub = f"base_model: {base['name']}\n" if "/" in base["name"] else ""
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
{hub}tags:
- hydra-mobile
- mobile_vlm
---

# A vision-language model on `{base["name"]}`

{training} Every trained tensor is inside, the projector included; all others are those of the base
(sha256 `{base["sha256"]}`). `merge.json` names each.

## Use it

`import hydra_mobile` registers the model class with transformers; torchvision is not needed.

```python
import hydra_mobile
from transformers import pipeline

pipe = pipeline("image-text-to-text", model="path/to/this/folder")
messages = [
    {{
        "role": "user",
        "content": [
            {{"type": "image", "url": "picture.png"}},
            {{"type": "text", "text": "What is in the image?"}},
        ],
    }}
]
print(pipe(text=messages, max_new_tokens=32, return_full_text=False)[0]["generated_text"])
```

Or without transformers' pipeline, which also keeps the image in the cache between questions:

```python
import hydra_mobile as hm

print(hm.load("path/to/this/folder").ask("picture.png", "What is in the image?").text)
```

Prompts follow the template `{template}` (`chat_template.jinja`; `processor_config.json` has it as
data). One image per conversation, in the first question.

## Export it

```
hydra-mobile export path/to/this/folder --target android
```
"""
