"""`hydra-mobile chat`: ask an exported bundle, or a trained model, about a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Model, Threads, existing
from hydra_mobile.cli.ui.live import Loading
from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import HydraError

if TYPE_CHECKING:
    from hydra_mobile.api.model import Answer

_MOST_TOKENS = 1_000_000


def chat(
    model: Model,
    image: Annotated[Path, typer.Option(metavar="FILE", help="Image to ask about")],
    ask: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Ask once and end; without it, ask on the terminal"),
    ] = "",
    new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, max=_MOST_TOKENS, help="Longest answer in tokens")
    ] = 64,
    threads: Threads = 0,
) -> ui.Result:
    """Ask a model about an image.

    /image FILE changes the image, /help lists what else there is; the end of input (Ctrl-D) ends.
    """
    existing(image, "--image")
    ui.prepare()
    from hydra_mobile.api.model import load, open_image

    picture = open_image(image)
    with Loading(model):
        loaded = load(model, threads=threads, own_process=True)
    ui.title(f"{loaded.name}, loaded in {loaded.load_seconds:.1f} s")
    if not ask:
        ui.facts({image.name: f"{picture.width} x {picture.height}"})
    settings = ui.screen().settings
    answers: list[dict[str, Any]] = []
    while question := ask or _question():
        if question.startswith("/"):
            try:
                image, new_tokens = _command(question, image, new_tokens)
            except HydraError as error:  # it does not end the conversation
                ui.warn(str(error))
            continue
        answer = loaded.ask(
            image,
            question,
            max_new_tokens=new_tokens,
            stream=None if settings.json else lambda text: ui.screen().raw(text, end=""),
        )
        if not settings.json:
            ui.screen().raw("")
        for text in _facts(answer, new_tokens, "--new-tokens" if ask else "/set new_tokens"):
            # In brackets: on a terminal they follow the answer, which is on standard output.
            ui.note(f"[{text}]")
        answers.append(_data(question, image, answer))
        if ask:
            break
    return ui.Result({"model": model, "answers": answers})


def _command(line: str, image: Path, new_tokens: int) -> tuple[Path, int]:
    """Do what a line that begins with a slash says; return image and limit."""
    from hydra_mobile.api.model import open_image

    word, _, rest = line.partition(" ")
    if word == "/image" and rest:
        picture = open_image(rest.strip())
        image = Path(rest.strip())
        ui.facts({image.name: f"{picture.width} x {picture.height}"})
    elif word == "/set" and rest.split()[:1] == ["new_tokens"] and len(rest.split()) == 2:
        new_tokens = _limit(rest.split()[1])
        ui.note(f"new_tokens {new_tokens}")
    else:
        ui.note("/image FILE  another image    /set new_tokens N  longer answers    Ctrl-D  end")
    return image, new_tokens


def _limit(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= _MOST_TOKENS:
        raise HydraError(f"{shown(text)} is not a number from 1 to {_MOST_TOKENS}.")
    return number


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


def _facts(answer: Answer, limit: int, setting: str) -> tuple[str, str]:
    """Return why an answer ended and how to allow a longer one, and what it took."""
    timings = answer.timings
    encode = "image kept" if timings.encode is None else f"image {timings.encode * 1e3:.0f} ms"
    rate = timings.tokens_per_second
    speed = f", {rate:.0f} tokens/s" if rate else ""
    more = f": {setting} {2 * limit} allows more" if answer.ended == "length" else ""
    return (
        f"stopped: {_ENDED[answer.ended]}{more}",
        f"{len(answer.ids)} tokens{speed}   prompt {timings.prefill_tokens} tokens "
        f"{timings.prefill * 1e3:.0f} ms ({encode})",
    )


def _data(question: str, image: Path, answer: Answer) -> dict[str, Any]:
    timings = answer.timings
    return {
        "question": question,
        "image": image,
        "answer": answer.text,
        "stopped": _STOPPED[answer.ended],
        "tokens": len(answer.ids),
        "encode_seconds": timings.encode,
        "prefill_seconds": timings.prefill,
        "prefill_tokens": timings.prefill_tokens,
        "first_token_seconds": timings.first_token,
        "decode_seconds": timings.decode,
        "decode_steps": timings.decode_steps,
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
