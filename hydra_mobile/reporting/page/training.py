"""How did training go? Loss, rank events and mean ranks on the same steps; sample answers."""

from __future__ import annotations

from html import escape

from hydra_mobile.reporting import tables
from hydra_mobile.reporting.evidence import TrainingAnswer
from hydra_mobile.reporting.formats import shortened
from hydra_mobile.reporting.page.loss import loss_drawings
from hydra_mobile.reporting.page.marks import facts, figure, fold, number, plural, section
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.plots import curves
from hydra_mobile.reporting.rank_history import totals
from hydra_mobile.reporting.training_section import TrainingSection

_LONG, _LONG_QUESTION, _MOST_ANSWERS = 120, 160, 4
_KEY = (
    (26, "smooth", '<path d="M0 7h26" class="smooth"/>', "loss, smoothed"),
    (14, "held", '<circle class="held" cx="7" cy="7" r="4.5"/>', "held-out loss"),
    (14, "placed", '<path class="alloc" d="M2 2h10v10H2z"/>', "ranks placed"),
    (14, "moved", '<path class="moved" d="M7 1l6 11H1z"/>', "ranks moved"),
    (14, "kept", '<circle class="kept0" cx="7" cy="7" r="4"/>', "map kept"),
)


def training_section(view: View) -> str:
    """Return the section; "" without a training."""
    training = view.report.training
    if training is None:
        return ""
    body = []
    drawn = loss_drawings(training)
    if drawn:
        stages = plural(len({p.stage for p in training.loss}), "stage")
        note = f"{stages}, each on its own steps; loss on a log scale."
        body.append(figure("Loss and rank events", note, drawn, _key(training)))
    if training.answers:
        body.append(_answers(training.answers))
    body.append(fold("Settings and stages", "", facts(tables.training_facts(training))))
    history = training.rank_history
    if history and len(history.events) > 1:
        events = tables.rank_events_table(history)
        notes = [totals(history).words()]
        rows = table_html(events, notes=notes)
        body.append(fold("Rank events", plural(len(events.rows), "event"), rows))
    return section("training", "How did training go?", _answer(training), *body)


def _answer(training: TrainingSection) -> str:
    parts = []
    if len(training.held_out) > 1:
        first, last = training.held_out[0].loss, training.held_out[-1].loss
        went = "fell" if last < first else "rose"
        parts.append(f"Held-out loss {went} from {number(first, 2)} to <b>{number(last, 2)}</b>.")
    found = [curve for curve in curves(training.loss) if curve.smooth]
    if found and not parts:
        own = found[-1].smooth
        parts.append(
            f"The loss of the last stage went from {number(own[0], 2)} to "
            f"<b>{number(own[-1], 2)}</b>. No data was held out."
        )
    if training.rank_history:
        sums = totals(training.rank_history)
        if sums.moves or sums.abstentions:
            parts.append(
                f"Ranks <b>moved {plural(sums.moves, 'time')}</b> and were kept at "
                f"{plural(sums.abstentions, 'check')}."
            )
        elif training.rank_history.events:
            parts.append("Ranks were placed before training and did not move.")
    counts = training.parameters
    parts.append(f"The adapters have {counts.lora:,} parameters, the budget is {counts.budget:,}.")
    return " ".join(parts)


def _key(training: TrainingSection) -> str:
    history = training.rank_history
    kinds = {event.kind for event in history.events} if history else set()
    wanted = {"smooth"} | ({"held"} if training.held_out else set())
    wanted |= {"placed"} if kinds & {"initial", "allocate"} else set()
    wanted |= {"moved"} if "move" in kinds else set()
    wanted |= {"kept"} if "abstain" in kinds else set()
    return "".join(
        f'<li><svg width="{width}" height="14" viewBox="0 0 {width} 14" aria-hidden="true">'
        f"{mark}</svg>{words}</li>"
        for width, name, mark, words in _KEY
        if name in wanted
    )


def _answers(answers: tuple[TrainingAnswer, ...]) -> str:
    """Return the sample answers of the run: each question once, first and last answer below it."""
    by_question: dict[tuple[str, str, str], list[TrainingAnswer]] = {}
    for answer in answers:
        key = (answer.image, answer.question, answer.expected)
        by_question.setdefault(key, []).append(answer)
    cards = ""
    for (image, question, expected), own in list(by_question.items())[:_MOST_ANSWERS]:
        picture = ""
        if image:
            words = escape(f"Picture of the question: {shortened(question, _LONG)}")
            picture = f'<img src="{escape(image)}" alt="{words}">'
        rows = "".join(
            f'<div class="said"><span></span><span><small>step {a.step:,}</small> '
            f"<b>{escape(shortened(a.answer, _LONG))}</b></span></div>"
            for a in sorted(own, key=lambda a: a.step)
        )
        rows += (
            '<div class="said"><span></span><span><small>right</small> '
            f"{escape(shortened(expected, _LONG))}</span></div>"
        )
        asked = escape(shortened(question, _LONG_QUESTION))
        kind = "q" if picture else "q bare"
        cards += f'<article class="{kind}">{picture}<p class="ask">{asked}</p>{rows}</article>'
    note = "the first and the last answer to held-out questions"
    return (
        '<div class="gallery"><h3 class="pill learned">Answers during training</h3>'
        f'<small>{note}</small></div><div class="cards spaced">{cards}</div>'
    )
