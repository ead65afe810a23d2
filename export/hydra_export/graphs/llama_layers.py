"""What the decoders that are written by hand can read: layers of a Llama, and no others.

A parameter that a graph does not read would be lost without an error: a Qwen3 without its norms of
q and k still writes text.

Why they stay beside the traced decoder, which reads them all: a traced graph of ONNX has no
GroupQueryAttention and attends over every slot of the cache, so a token of four layers of SmolLM2
takes 1.3 times as long (`experiments/inference_speed/decoders.json`); and only these keep sensitive
parts at 8 bits, take adapters apart from the program, and go to Core ML. On ExecuTorch, where both
call the same attention, neither is faster.
"""

from __future__ import annotations

from typing import Any

from hydra_mobile.core.errors import HydraError

_LINEARS = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_READ = {
    *(f"{name}.{kind}" for name in _LINEARS for kind in ("weight", "bias")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
}


def require_llama_layers(language_model: Any) -> None:
    """Raise unless a decoder written by hand computes all that the layers do.

    Args:
        language_model: laid out as `LlamaForCausalLM` is.

    Raises:
        HydraError: names the parameter or setting that would be lost.
    """
    body, config = language_model.model, language_model.config
    for index, layer in enumerate(body.layers):
        names = {name for name, _ in layer.named_parameters()}
        _refuse_any(f"layers.{index}", sorted(names - _READ), "has parameters beyond a Llama's")
        _refuse_any(f"layers.{index}", sorted(_lacking(names)), "lacks parameters of a Llama")
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    _refuse_any("config.layer_types", sorted(kinds), "names other attention than full")
    rope = getattr(config, "rope_parameters", None) or {}
    _refuse_any(
        "config.rope_parameters",
        sorted(key for key in ("mrope_section", "mrope_interleaved") if rope.get(key)),
        "turns positions on several axes",
    )
    if float(rope.get("partial_rotary_factor") or 1.0) != 1.0:
        _refuse_any("config.rope_parameters", ["partial_rotary_factor"], "turns a part of a head")
    caps = ("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar")
    found = [name for name in caps if getattr(config, name, None)]
    _refuse_any("config", found, "asks for what a Llama has not")


def require_by_hand(language_model: Any, runtime: str) -> None:
    """Raise where a runtime has decoders written by hand alone, and none fits.

    Raises:
        HydraError: see `require_llama_layers`.
    """
    try:
        require_llama_layers(language_model)
    except HydraError as error:
        raise HydraError(
            f"{runtime} programs are written for the layers of a Llama: {error.what}",
            "Leave out the separate adapter or the second vision encoder for this model.",
        ) from error


def is_llama(language_model: Any) -> bool:
    """Whether the decoders written by hand compute all that the layers do."""
    try:
        require_llama_layers(language_model)
    except HydraError:
        return False
    return True


def _lacking(names: set[str]) -> set[str]:
    return {name for name in _READ if name.endswith(".weight")} - names


def _refuse_any(where: str, found: list[str], why: str) -> None:
    if found:
        raise HydraError(
            f"The decoder is written for the layers of a Llama; {where} {why}: "
            f"{', '.join(found[:4])}.",
            "It would be left out of the program. This text model cannot be exported yet.",
        )
