"""What the card of a bundle says about its adapters: which there are, and how an app swaps them.

Written when the program is made, so it names the first adapter; `manifest.json` lists those that
were added later. Text only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_mobile.bundle.lora_file import DECODER_SUFFIX, VISION_SUFFIX

_HOW = """\
## Adapters

The program runs without an adapter as the base does. An adapter `NAME` is
`adapters/NAME{decoder}` for the text decoder and `adapters/NAME{vision}` for the vision encoder
(absent if it left the projector as it was), in onnxruntime's own format, with the scale inside.
{first}

- Here: `hydra-mobile verify|chat|evaluate BUNDLE` runs the default adapter, `BUNDLE#NAME` another
  one, `BUNDLE#base` none. `hydra-mobile bundle add BUNDLE RUN --name NAME` adds one
  that was trained on the same base.
- Kotlin and Java: `val adapter = OrtLoraAdapter.create("$folder/adapters/NAME{decoder}")` once,
  `RunOptions().apply {{ addActiveLoraAdapter(adapter) }}` for every run of the decoder, and the
  same with the other file for the vision encoder. C, C++, C# and JavaScript have the same two
  calls; Swift has them through the C interface.
- Keep the adapter open while run options name it: they only point to it.
- After a swap begin with an empty cache: keys and values belong to the adapter that computed them.
- onnxruntime says once for every input, at log level warning, that its default is no constant.
  That is meant."""


def adapter_sections(manifest: Mapping[str, Any]) -> list[str]:
    """Return the section about adapters, or nothing for a bundle whose adapter is merged."""
    if "adapters" not in manifest:
        return []
    default = manifest["default_adapter"]
    first = "No adapter came with it."
    if default is not None:
        entry = manifest["adapters"][default]
        parameters = entry["parameters"]
        first = (
            f"The default, `{default}`, has {parameters['lora']:,} LoRA parameters in "
            f"{entry['modules']} linears and {parameters['projector']:,} values of the projector, "
            f"{entry['bytes'] / 1e6:.1f} MB."
        )
    return [_HOW.format(decoder=DECODER_SUFFIX, vision=VISION_SUFFIX, first=first)]
