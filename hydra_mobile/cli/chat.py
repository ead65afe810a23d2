"""`hydra-mobile chat`: ask an exported bundle, or a trained model, about a picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Model, Threads, existing
from hydra_mobile.cli.ui.live import Loading

if TYPE_CHECKING:
    from hydra_mobile.runtimes.generation import Generation


def chat(
    model: Model,
    image: Annotated[Path, typer.Option(metavar="FILE", help="Picture to ask about")],
    ask: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Ask once and end; without it, ask on the terminal"),
    ] = "",
    new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Longest answer in tokens")
    ] = 64,
    threads: Threads = 0,
) -> ui.Result:
    """Ask a model about a picture.

    /image FILE changes the picture, /help lists what else there is; the end of input (Ctrl-D) ends.
    """
    existing(image, "--image")
    ui.prepare()
    from hydra_mobile.models.pictures import open_picture
    from hydra_mobile.runtimes import runtime_class
    from hydra_mobile.runtimes.generation import Generator
    from hydra_mobile.runtimes.model_ref import model_at

    picture = open_picture(image)
    with Loading(model):
        artifact = model_at(model)
        kind = runtime_class(artifact.runner)
        kind.own_process(threads)
        runner = kind.load(artifact.path, threads=threads)
    ui.title(f"{artifact.name}, loaded in {runner.load_seconds:.1f} s")
    ui.facts({image.name: f"{picture.width} x {picture.height}"})
    generator = Generator(runner)
    settings = ui.screen().settings
    answers: list[dict[str, Any]] = []
    while question := ask or _question():
        if question.startswith("/"):
            try:
                image, picture, new_tokens = _command(question, image, picture, new_tokens)
            except Exception as error:  # a wrong picture does not end the conversation
                ui.warn(str(error))
            continue
        shown: Callable[[int], None] = (
            (lambda token: None) if settings.json else _printer(runner.processor.decode)
        )
        result = generator.answer(
            question, _as_is(picture), str(image), max_new_tokens=new_tokens, on_token=shown
        )
        if not settings.json:
            ui.screen().raw("")
        ui.note(_facts(result, new_tokens))
        answers.append(_data(question, image, result))
        if ask:
            break
    return ui.Result({"model": model, "answers": answers})


def _as_is(picture: Any) -> Callable[[], Any]:
    return lambda: picture


def _command(line: str, image: Path, picture: Any, new_tokens: int) -> tuple[Path, Any, int]:
    """Do what a line that begins with a slash says; return picture and limit."""
    from hydra_mobile.models.pictures import open_picture

    word, _, rest = line.partition(" ")
    if word == "/image" and rest:
        image = Path(rest.strip())
        picture = open_picture(image)
        ui.facts({image.name: f"{picture.width} x {picture.height}"})
    elif word == "/set" and rest.split()[:1] == ["new_tokens"]:
        new_tokens = max(1, int(rest.split()[1]))
        ui.note(f"new_tokens {new_tokens}")
    else:
        ui.note("/image FILE  another picture    /set new_tokens N  longer answers    Ctrl-D  end")
    return image, picture, new_tokens


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
        ui.screen().raw(text[len(printed) :], end="")
        printed = text

    return show


def _question() -> str:
    """Return the next line of standard input, "" at its end; the prompt is for a person alone."""
    while True:
        try:
            if sys.stdin.isatty():
                text = input("> ")
            else:
                text = sys.stdin.readline()
                if not text:
                    return ""
        except EOFError:
            return ""
        if text.strip():
            return text.strip()


#: Why an answer ended, in the words of the screen.
_ENDED = {
    "stop": "end of answer",
    "length": "limit",
    "context": "the context is full, the answer is cut",
}
#: The same in JSON; "limit" is the name of earlier versions.
_STOPPED = {"stop": "stop", "length": "limit", "context": "context"}


def _facts(result: Generation, limit: int) -> str:
    encode = (
        "picture kept"
        if result.encode_seconds is None
        else f"picture {result.encode_seconds * 1e3:.0f} ms"
    )
    rate = (
        f", {result.decode_steps / result.decode_seconds:.0f} tokens/s"
        if result.decode_steps and result.decode_seconds
        else ""
    )
    more = f": /set new_tokens {2 * limit} allows more" if result.ended == "length" else ""
    return (
        f"stopped: {_ENDED[result.ended]}{more}   {len(result.ids)} tokens{rate}   prompt "
        f"{result.prefill_tokens} tokens {result.prefill_seconds * 1e3:.0f} ms ({encode})"
    )


def _data(question: str, image: Path, result: Generation) -> dict[str, Any]:
    return {
        "question": question,
        "image": image,
        "answer": result.text,
        "stopped": _STOPPED[result.ended],
        "tokens": len(result.ids),
        "encode_seconds": result.encode_seconds,
        "prefill_tokens": result.prefill_tokens,
        "prefill_seconds": result.prefill_seconds,
        "first_token_seconds": result.first_token_seconds,
        "decode_seconds": result.decode_seconds,
    }


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        chat,
        panel=panel,
        examples=['hydra-mobile chat runs/emojiqa --image sun.png --ask "Is this a sun?"'],
        renamed={"--question": "--ask", "--max-new-tokens": "--new-tokens"},
    )
