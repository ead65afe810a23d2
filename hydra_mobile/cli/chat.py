"""`hydra-mobile chat`: ask an exported bundle, or a trained model, about a picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import CountOr, Model, Real, Seed, Threads, existing, opened
from hydra_mobile.cli.ui.faults import Terminated
from hydra_mobile.cli.ui.live import Loading
from hydra_mobile.core.boundaries import reason_of, shown
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import tilde
from hydra_mobile.core.registry import nearest, require_packages
from hydra_mobile.core.temporary import working_folder

if TYPE_CHECKING:
    from hydra_mobile.api.model import Answer
    from hydra_mobile.api.model import Model as LoadedModel

_MOST_TOKENS = 1_000_000


def chat(
    model: Model,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Image to ask about; --web needs none")
    ] = None,
    ask: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Ask once and end; without it, ask on the terminal"),
    ] = None,
    new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, max=_MOST_TOKENS, help="Longest answer in tokens")
    ] = 64,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="T", parser=Real(0.0, 100.0), help="0: the likeliest token; above: draw freely"
        ),
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(
            metavar="P", parser=Real(0.001, 1.0), help="Draw from the likeliest that sum to this"
        ),
    ] = 1.0,
    seed: Seed = 0,
    threads: Threads = 0,
    web: Annotated[
        bool, typer.Option("--web", help="Ask on a page of this machine, in the browser")
    ] = False,
    beside: Annotated[
        str, typer.Option(metavar="MODEL", help="Second model on the page, asked the same")
    ] = "",
    port: Annotated[
        int,
        typer.Option(
            metavar="N", parser=CountOr("any", 1024, 65535), show_default="free", help="Of the page"
        ),
    ] = 0,
) -> ui.Result:
    """Talk with a model about an image.

    Further questions know the earlier ones. /image FILE changes the image and begins anew, /reset
    begins anew, /help lists what else there is. Ctrl-C stops an answer; at the prompt it ends, as
    the end of input (Ctrl-D) does. With --web all of that is on a page, for one model or two
    beside each other, until Ctrl-C.
    """
    if image is not None:
        existing(image, "--image")
    if ask is not None and not ask.strip():
        # An empty variable of a script: nobody is there to type a question.
        raise HydraError("--ask is empty", "name a question, or leave it out", where="--ask")
    if web:
        if ask:
            raise HydraError("--ask asks once, --web opens a page", "leave one of them out")
        models = [model, *([beside] if beside else [])]
        return _page(models, image, new_tokens, temperature, top_p, seed, threads, port)
    if beside or port:
        raise HydraError("--beside and --port are of the page", "add --web")
    if image is None:
        raise HydraError("no image is given", "add --image FILE, or --web", where="--image")
    ui.prepare()
    from hydra_mobile.api.model import load, open_image

    picture = open_image(image)
    path = opened(model, "MODEL")
    with Loading(model):
        loaded = load(path, threads=threads, own_process=True)
    ui.title(f"{loaded.name}, loaded in {loaded.load_seconds:.1f} s")
    if not ask:
        ui.facts({image.name: f"{picture.width} x {picture.height}"})
    settings = ui.screen().settings
    answers: list[dict[str, Any]] = []
    talk = Talk(image, new_tokens, temperature, top_p, seed)
    ui.going_on("A conversation is on the screen alone.")
    while question := ask or _question():
        try:
            # What is asked once is a question, whatever it begins with.
            if not ask and question.startswith("/"):
                _command(question, talk)
                continue
            answer = loaded.ask(
                talk.image,
                question,
                max_new_tokens=talk.new_tokens,
                stream=None if settings.json else lambda text: ui.screen().raw(text, end=""),
                history=talk.history,
                temperature=talk.temperature,
                top_p=talk.top_p,
                # Another draw for each question, the same in each conversation.
                seed=talk.seed + len(talk.history),
            )
        except HydraError as error:  # it does not end the conversation
            if ask:
                raise
            begin = "\n/reset begins anew" if talk.history else ""
            ui.warn(f"{error}{begin}")
            continue
        except KeyboardInterrupt as interrupted:
            # On a terminal it stops the answer; at the prompt, or twice, it ends the command.
            if ask or not sys.stdin.isatty() or isinstance(interrupted, Terminated):
                raise
            ui.screen().raw("")
            ui.note("[stopped; the conversation goes on without this question. Ctrl-D ends it]")
            continue
        if not settings.json:
            ui.screen().raw("")
        limit = talk.new_tokens
        for text in _facts(answer, limit, "--new-tokens" if ask else "/set new_tokens"):
            # In brackets: on a terminal they follow the answer, which is on standard output.
            ui.note(f"[{text}]")
        answers.append(_data(question, talk.image, answer) | {"turn": len(talk.history) + 1})
        talk.history.append((question, answer.text))
        if ask:
            break
    return ui.Result({"model": model, "answers": answers})


def _page(
    models: list[str],
    image: Path | None,
    new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    threads: int,
    port: int,
) -> ui.Result:
    """Open the page and serve it until Ctrl-C."""
    ui.prepare()
    from hydra_mobile.api.model import load, open_image
    from hydra_mobile.cli.chat_page import ChatPage

    require_packages(("gradio",), "web")
    picture = None if image is None else open_image(image)
    loaded: list[LoadedModel] = []
    for model in models:
        path = opened(model, "MODEL")
        with Loading(model):
            loaded.append(load(path, threads=threads, own_process=not loaded))
    with working_folder("chat") as uploads:
        page = ChatPage(
            loaded,
            picture,
            new_tokens=new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            facts=lambda answer, limit: "; ".join(_facts(answer, limit, "New tokens")).replace(
                "   ", "; "
            ),
            setting=_setting,
            uploads=uploads,
        )
        address = page.open(port, browser=sys.stdout.isatty())
        ui.title(f"{' and '.join(one.name for one in loaded)} at {address}")
        ui.note("Ctrl-C ends it.")
        page.wait()
    return ui.Result({"models": models, "address": address})


@dataclass
class Talk:
    """A conversation and its settings, which commands change.

    Attributes:
        image: what it is about.
        new_tokens: longest answer.
        temperature: see `Model.ask`.
        top_p: see `Model.ask`.
        seed: of the draws.
        history: questions and answers so far.
    """

    image: Path
    new_tokens: int
    temperature: float
    top_p: float
    seed: int
    history: list[tuple[str, str]] = field(default_factory=list)

    def set(self, name: str, text: str) -> None:
        """Set what `/set NAME VALUE` names.

        Raises:
            HydraError: there is no such setting, or the value is none for it.
        """
        setattr(self, name, _setting(name, text))


_SETTINGS: dict[str, Callable[[object], int | float]] = {
    "new_tokens": lambda value: CountOr("", most=_MOST_TOKENS)(value) or 1,
    "temperature": Real(0.0, 100.0),
    "top_p": Real(0.001, 1.0),
    "seed": CountOr("none", most=2**32 - 1),
}


def _setting(name: str, value: object) -> int | float:
    """Return the value of a setting from what was typed.

    Raises:
        HydraError: there is no such setting, or the value is none for it.
    """
    parser = _SETTINGS.get(name)
    if parser is None:
        raise HydraError(f"There is no setting {shown(name)}.", nearest(name, _SETTINGS))
    try:
        return parser(value)
    except typer.BadParameter as error:
        raise HydraError(f"{name}: {error}") from error


_HELP = (
    "/image FILE  another image, anew    /reset  begin anew    /set NAME VALUE  "
    "new_tokens, temperature, top_p, seed    Ctrl-D  end"
)


def _command(line: str, talk: Talk) -> None:
    """Do what a line that begins with a slash says.

    Raises:
        HydraError: the image cannot be read, or a setting is none.
    """
    from hydra_mobile.api.model import open_image

    word, _, rest = line.partition(" ")
    if word == "/image" and rest:
        # No shell has read it.
        chosen = tilde(Path(rest.strip()))
        picture = open_image(chosen)
        talk.image = chosen
        talk.history.clear()
        ui.facts({talk.image.name: f"{picture.width} x {picture.height}"})
    elif word == "/reset":
        talk.history.clear()
        ui.note("a new conversation")
    elif word == "/set" and len(rest.split()) == 2:
        name, value = rest.split()
        talk.set(name, value)
        ui.note(f"{name} {getattr(talk, name)}")
    else:
        ui.note(_HELP)


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
        except UnicodeDecodeError as error:
            raise HydraError(
                "a question is no text in UTF-8",
                "Send text in UTF-8.",
                where="standard input",
                found=reason_of(error),
            ) from error
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
    timings, tokens = answer.timings, len(answer.ids)
    encode = "image kept" if timings.encode is None else f"image {timings.encode * 1e3:.0f} ms"
    rate = timings.tokens_per_second
    speed = f", {rate:.0f} tokens/s" if rate else ""
    more = f": {setting} {2 * limit} allows more" if answer.ended == "length" else ""
    return (
        f"stopped: {_ENDED[answer.ended]}{more}",
        f"{tokens} token{'s' * (tokens != 1)}{speed}   prompt {timings.prefill_tokens} tokens "
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
        examples=[
            'hydra-mobile chat runs/emojiqa --image sun.png --ask "Is this a sun?"',
            "hydra-mobile chat runs/emojiqa --web --beside bundles/emojiqa-int4",
        ],
        renamed={"--question": "--ask", "--max-new-tokens": "--new-tokens"},
    )
