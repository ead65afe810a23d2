"""`hydra-mobile chat`: ask an exported bundle, or a trained model, about a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer


def chat(
    model: str = typer.Argument(..., help="Bundle, run, merged folder or base."),
    image: Path = typer.Option(..., help="Picture to ask about."),
    question: str = typer.Option("", help="Ask once and exit; empty: ask on the terminal."),
    max_new_tokens: int = typer.Option(64, help="Longest answer in tokens."),
    threads: int = typer.Option(0, help="CPU threads; 0: the runtime's choice."),
) -> None:
    """Answer questions about a picture on the terminal."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.data.llava import open_image
    from hydra_mobile.runtimes import runtime_class
    from hydra_mobile.runtimes.generation import Generator
    from hydra_mobile.runtimes.model_ref import model_at

    picture = open_image(image)
    artifact = model_at(model)
    kind = runtime_class(artifact.runner)
    kind.own_process(threads)
    runner = kind.load(artifact.path, threads=threads)
    say(f"{artifact.name}, loaded in {runner.load_seconds:.1f} s")
    generator = Generator(runner)
    while asked := question or _ask():
        result = generator.answer(
            asked,
            lambda: picture,
            str(image),
            max_new_tokens=max_new_tokens,
            on_token=_printer(runner.processor.decode),
        )
        print()
        say(_facts(result))
        if question:
            return


def _printer(decode: Callable[[list[int]], str]) -> Callable[[int], None]:
    """Return what prints an answer token by token, in whole characters."""
    shown: list[int] = []
    printed = ""

    def show(token: int) -> None:
        nonlocal printed
        shown.append(token)
        text = decode(shown)
        if text.endswith("\ufffd"):
            return  # the rest of a character's bytes are tokens that follow
        print(text[len(printed) :], end="", flush=True)
        printed = text

    return show


def _ask() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def _facts(result: object) -> str:
    from hydra_mobile.runtimes.generation import Generation

    assert isinstance(result, Generation)
    encode = (
        "picture in the cache"
        if result.encode_seconds is None
        else f"encode {result.encode_seconds * 1e3:.0f} ms"
    )
    rate = (
        f", {result.decode_steps / result.decode_seconds:.0f} tok/s" if result.decode_steps else ""
    )
    return (
        f"  [{encode}, prefill {result.prefill_tokens} tokens "
        f"{result.prefill_seconds * 1e3:.0f} ms{rate}]"
    )
