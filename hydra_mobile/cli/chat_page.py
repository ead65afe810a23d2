"""The page of `chat --web`: one model or two beside each other, on the same image and question.

A server of this machine alone; gradio's own counting of users and its public links stay off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.registry import require_packages

if TYPE_CHECKING:
    from PIL import Image

    from hydra_mobile.api.model import Answer, Model

HOST = "127.0.0.1"
#: Questions and answers of one model so far.
History = list[tuple[str, str]]
#: Says in a line what an answer took.
Facts = Callable[["Answer", int], str]
#: Returns the value of a setting by its name, from what was typed; raises HydraError.
Setting = Callable[[str, object], Any]
_MOST_UPLOADED = "200mb"


class ChatPage:
    """A page that asks models.

    Args:
        models: one, or two that answer side by side.
        image: what the page begins with; None: none.
        new_tokens, temperature, top_p, seed: what its settings begin with.
        facts: says what an answer took.
        setting: reads a setting.
        uploads: folder that pictures are uploaded into, of this page alone.

    Raises:
        MissingPackageError: gradio is not installed.
    """

    def __init__(
        self,
        models: Sequence[Model],
        image: Image.Image | None,
        *,
        new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
        facts: Facts,
        setting: Setting,
        uploads: Path,
    ) -> None:
        require_packages(("gradio",), "web")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        # People's pictures; gradio's own folder is kept for ever.
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        self._models, self._facts, self._setting = list(models), facts, setting
        # A page that is closed in an answer leaves its model busy for another token.
        self._busy = Lock()
        self._page = self._blocks(image, new_tokens, temperature, top_p, seed)

    def open(self, port: int = 0, *, browser: bool = False) -> str:
        """Start the server and return the page's address.

        Args:
            port: 0: the first free one from 7860 on.
            browser: whether to show the page in the user's browser.

        Raises:
            HydraError: the port is taken.
        """
        import gradio as gr

        try:
            _, address, _ = self._page.queue().launch(
                server_name=HOST,
                server_port=port or None,
                share=False,
                inbrowser=browser,
                quiet=True,
                prevent_thread_lock=True,
                theme=gr.themes.Default(
                    # Its own come from a server of the internet.
                    font=["system-ui", "sans-serif"],
                    font_mono=["ui-monospace", "monospace"],
                ),
                footer_links=[],
                max_file_size=_MOST_UPLOADED,
                enable_monitoring=False,
                mcp_server=False,
                ssr_mode=False,
            )
        except OSError as error:
            raise HydraError(
                f"The page cannot be served: {error}.", "Choose another --port.", where="--port"
            ) from error
        return str(address)

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        try:
            # Not gradio's own waiting, which prints to standard output.
            Event().wait()
        except KeyboardInterrupt:
            self._page.close(verbose=False)

    def _blocks(
        self,
        image: Image.Image | None,
        new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> Any:
        import gradio as gr

        with gr.Blocks(title="hydra-mobile chat", analytics_enabled=False) as page:
            talks = gr.State([[] for _ in self._models])
            with gr.Row():
                with gr.Column(scale=1, min_width=260):
                    picture = gr.Image(
                        image,
                        label="Image",
                        type="filepath",
                        # Lossless: a model is to see the pixels of the file.
                        format="png",
                        sources=["upload", "clipboard"],
                        buttons=["fullscreen"],
                        height=300,
                    )
                    # Pictures are opened here as everywhere, or refused in words.
                    picture.preprocess = _uploaded
                    with gr.Accordion("Settings", open=False):
                        settings = [
                            gr.Number(new_tokens, label="New tokens", precision=0),
                            gr.Number(temperature, label="Temperature"),
                            gr.Slider(0.01, 1.0, top_p, label="Top p"),
                            gr.Number(seed, label="Seed", precision=0),
                        ]
                with gr.Column(scale=2, min_width=320):
                    with gr.Row():
                        chats = [
                            gr.Chatbot(
                                label=_title(model),
                                height=420,
                                min_width=260,
                                buttons=["copy"],
                                # What a model wrote, to the letter.
                                render_markdown=False,
                            )
                            for model in self._models
                        ]
                    question = gr.Textbox(
                        label="Question", placeholder="What is in the image?", autofocus=True
                    )
                    with gr.Row():
                        ask = gr.Button("Ask", variant="primary")
                        anew = gr.Button("Begin anew")
            # One event, so one question at a time: models are for one caller.
            gr.on(
                [ask.click, question.submit],
                self._answer,
                [question, picture, talks, *settings],
                [question, talks, *chats],
                concurrency_limit=1,
            )
            gr.on(
                # A chat's own bin would empty what is shown, and not what the models are told.
                [anew.click, picture.change, *(chat.clear for chat in chats)],
                lambda: [[[] for _ in self._models], *([] for _ in self._models)],
                None,
                [talks, *chats],
            )
        return page

    def _answer(
        self,
        question: str | None,
        file: str | None,
        talks: list[History],
        *settings: object,
    ) -> Iterator[list[Any]]:
        """Yield the question's field, the histories and every chat, as answers come."""
        from hydra_mobile.api.model import open_image

        question = (question or "").strip()
        chats = [_shown(history) for history in talks]
        if not question:
            yield ["", talks, *chats]
            return
        for chat in chats:
            chat.append({"role": "user", "content": question})
        yield ["", talks, *chats]
        try:
            picture = open_image(file) if file else None
            new_tokens, temperature, top_p, seed = map(self._setting, _SETTINGS, settings)
        except HydraError as error:
            # Uploads lie in a folder of a hundred characters, which tells nobody anything.
            why = str(error).replace(str(file), Path(file or "").name)
            for chat in chats:
                chat.append({"role": "assistant", "content": f"[not answered: {why}]"})
            yield ["", talks, *chats]
            return
        for model, chat, history in zip(self._models, chats, talks, strict=True):
            said = {"role": "assistant", "content": ""}
            chat.append(said)

            def ask(
                stream: Callable[[str], object], of: Model = model, about: History = history
            ) -> Answer:
                with self._busy:
                    return of.ask(
                        picture,
                        question,
                        max_new_tokens=new_tokens,
                        stream=stream,
                        history=about,
                        temperature=temperature,
                        top_p=top_p,
                        seed=seed + len(about),
                    )

            for piece in _pieces(ask):
                if isinstance(piece, str):
                    said["content"] += piece
                elif isinstance(piece, HydraError):
                    said["content"] = f"[not answered: {piece}]"
                else:
                    history.append((question, piece.text))
                    said["content"] = f"{piece.text}\n[{self._facts(piece, new_tokens)}]"
                yield ["", talks, *chats]


#: In the order of the page.
_SETTINGS = ("new_tokens", "temperature", "top_p", "seed")


def _uploaded(payload: Any) -> str | None:
    """Return the file of an upload, unopened."""
    return payload.path if payload is not None else None


def _title(model: Model) -> str:
    return f"{Path(model.path).name}: {model.name}"


def _shown(history: History) -> list[dict[str, str]]:
    return [
        {"role": role, "content": text}
        for turn in history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


class _Left(Exception):
    """Whoever asked has closed the page."""


def _pieces(
    ask: Callable[[Callable[[str], object]], Answer],
) -> Iterator[str | Answer | HydraError]:
    """Yield an answer's text as it comes, at last the answer, or why there is none."""
    told: SimpleQueue[str | Answer | BaseException] = SimpleQueue()
    left = Event()

    def tell(text: str) -> None:
        if left.is_set():
            raise _Left
        told.put(text)

    def work() -> None:
        try:
            told.put(ask(tell))
        except BaseException as error:
            told.put(error)

    Thread(target=work, daemon=True).start()
    try:
        while isinstance(piece := told.get(), str):
            yield piece
    finally:
        left.set()
    if isinstance(piece, BaseException) and not isinstance(piece, HydraError):
        raise piece
    yield piece
