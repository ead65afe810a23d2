"""Show me what it gets right and wrong: questions with their images and every row's answer."""

from __future__ import annotations

from html import escape

from hydra_mobile.reporting.evidence import ShownQuestion
from hydra_mobile.reporting.formats import shortened
from hydra_mobile.reporting.page.marks import icon, section
from hydra_mobile.reporting.page.view import View

#: Outcome -> symbol, title, what it means, class.
_GROUPS = {
    "kept": ("check", "Kept", "right before training, after it, and exported", "kept"),
    "learned": ("rise", "Learned", "wrong before training, right ever since", "learned"),
    "flipped": (
        "flip",
        "Flipped by quantization",
        "an exported model is right where the trained one is wrong, or the other way round",
        "flipped",
    ),
    "right": ("check", "Right", "the trained model's answer is the right one", "kept"),
    "wrong": ("warn", "Wrong", "the trained model's answer is not the right one", "flipped"),
}
_LONG, _LONG_QUESTION = 120, 220
#: A lead of as many logits fills the bar.
_FULL = 2.5


def gallery(view: View) -> str:
    """Return the section; "" where no question is shown."""
    shown = view.report.questions.shown if view.report.questions else ()
    if not shown:
        return ""
    body = ""
    for outcome, (sign, title, note, kind) in _GROUPS.items():
        own = [question for question in shown if question.outcome == outcome]
        if not own:
            continue
        cards = "".join(_card(view, question) for question in own)
        body += (
            f'<div class="gallery"><h3 class="pill {kind}">{icon(sign)}{title}</h3>'
            f'<small>{note}</small></div><div class="cards">{cards}</div>'
        )
    answer = "Answers are grouped by what was said."
    if any(question.lead is not None for question in shown):
        answer += (
            " <b>The bar is the trained model's lead</b>: how far its answer was ahead of the next "
            "one, in logits. Short bars are close calls."
        )
    if not all(question.image for question in shown):
        answer += " Images that must not be passed on are left out."
    return section("gallery", "What does it get right and wrong?", answer, body)


def _card(view: View, question: ShownQuestion) -> str:
    picture = ""
    if question.image:
        words = f"Picture of the question: {shortened(question.question, _LONG)}"
        picture = f'<img src="{escape(question.image)}" alt="{escape(words)}">'
    rows = ""
    for answer in sorted(question.answers, key=lambda a: not a.right):
        sign = icon("yes", "v", "right") if answer.right else icon("no", "v", "wrong")
        chips = _chips(view, answer.systems)
        said = f"<b>{escape(shortened(answer.text, _LONG))}</b>"
        # By the rules of POPE, for one, every answer without a "no" is a yes.
        if answer.read and answer.read.lower() not in answer.text.lower():
            said += f" <small>read as {escape(shortened(answer.read, _LONG))}</small>"
        rows += f'<div class="said">{sign}<span>{said}</span><div class="chips">{chips}</div></div>'
    if not any(answer.right for answer in question.answers):
        expected = escape(shortened(question.expected, _LONG))
        rows += f'<div class="said"><span></span><span>right: <b>{expected}</b></span></div>'
    bar = ""
    if question.lead is not None:
        width = min(100.0, 100 * question.lead / _FULL)
        bar = (
            f'<p class="lead">lead <span><i style="width:{width:.0f}%"></i></span> '
            f"{question.lead:.2f}</p>"
        )
    asked = escape(shortened(question.question, _LONG_QUESTION))
    kind = "q" if picture else "q bare"
    return f'<article class="{kind}">{picture}<p class="ask">{asked}</p>{rows}{bar}</article>'


def _chips(view: View, systems: tuple[str, ...]) -> str:
    if len(systems) == len(view.systems) > 1:
        return f'<span class="chip">all {len(systems)} models</span>'
    return "".join(f'<span class="chip">{view.named(name)}</span>' for name in systems)
