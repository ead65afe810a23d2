"""Where do answers change? Pairs of models, close calls, favorite answers and the questions."""

from __future__ import annotations

from html import escape

from hydra_mobile.reporting.evidence import LeadBin, SaidCounts
from hydra_mobile.reporting.formats import DASH, shortened
from hydra_mobile.reporting.page.marks import figure, fold, icon, number, percent, section
from hydra_mobile.reporting.page.view import View, differing
from hydra_mobile.reporting.results import Comparison, FlippedAnswer

_LONG = 90
_MOST_LEADS, _MOST_LEANINGS = 2, 4
#: An answer that is given more often than this is a habit.
_HABIT = 0.55


def flips(view: View) -> str:
    """Return the section; "" where nothing was compared."""
    comparisons = view.report.comparisons
    if not comparisons:
        return ""
    questions = view.report.questions
    two = _by_pair(view) + (_by_lead(view, questions.leads) if questions else "")
    said = questions.said[:_MOST_LEANINGS] if questions else ()
    leans = "".join(_leaning(view, counts) for counts in said)
    lists = "".join(_list(view, comparison) for comparison in comparisons)
    body = [f'<div class="two">{two}</div>']
    if leans:
        body.append(f'<div class="two more">{leans}</div>')
    body.append(f'<h3 class="lists">The questions</h3>{lists}')
    return section("flips", "Where do answers change?", _answer(view), *body)


def _answer(view: View) -> str:
    told = differing(view, view.exports)
    parts = ["No exported model was compared."]
    if told:
        parts = [f"<b>Answers differ from the trained model's: {told} of questions.</b>"]
    questions = view.report.questions
    if questions:
        near = sum(sum(b.differ.values()) for b in questions.leads if b.high and b.high <= 0.5)
        every = sum(sum(b.differ.values()) for b in questions.leads)
        if every:
            share = percent(near / every, 0)
            parts.append(f"{share} of these were close calls, with a lead under half a logit.")
        if view.reference:
            parts += [_habit(view.reference.name, said) for said in questions.said]
    return " ".join(filter(None, parts))


def _habit(name: str, said: SaidCounts) -> str:
    counts = said.systems.get(name, {})
    answer = max(counts, key=lambda key: counts[key], default="")
    share = counts.get(answer, 0) / said.n
    right = said.expected.get(answer, 0) / said.n
    if not answer or share <= _HABIT or share < right + 0.2:
        return ""
    return (
        f"On {escape(said.kind)} questions the trained model says {escape(answer)} "
        f"{percent(share, 0)} of the time: read those as a habit, not as skill."
    )


def _by_pair(view: View) -> str:
    pairs: dict[tuple[str, str], list[int]] = {}
    untrained = view.untrained.name if view.untrained else None
    for c in view.report.comparisons:
        # The untrained row is where the others come from: gained and lost change places.
        back = c.system == untrained
        pair = (c.system, c.reference) if back else (c.reference, c.system)
        lost, gained = (c.gained, c.lost) if back else (c.lost, c.gained)
        other = c.n - c.same - lost - gained
        sums = pairs.setdefault(pair, [0, 0, 0])
        for i, value in enumerate((lost, gained, other)):
            sums[i] += value
    most = max((max(lost, gained) for lost, gained, _ in pairs.values()), default=0) or 1
    rows = ""
    for (a, b), (lost, gained, other) in pairs.items():
        track = (
            f'<i class="bar c-orange" style="right:50%;width:{49 * lost / most:.1f}%"></i>'
            f'<i class="bar c-teal" style="left:50%;width:{49 * gained / most:.1f}%"></i>'
            '<i class="middle" style="left:50%"></i>'
        )
        rows += (
            f'<tr><th scope="row" class="who">{escape(a)} → {escape(b)}</th>'
            f'<td class="val">{number(-lost)}</td>'
            f'<td><span class="track" aria-hidden="true">{track}</span></td>'
            f'<td class="val gained">{number(gained, sign=True)}</td>'
            f'<td class="val">{number(max(0, other))}</td></tr>'
        )
    head = (
        '<thead><tr><th scope="col">from → to</th><th scope="col" class="val">lost</th><td></td>'
        '<th scope="col" class="gained">gained</th><th scope="col" class="val">other</th></tr>'
        "</thead>"
    )
    note = (
        "Bars to the left: right answers lost; to the right: gained. Other: worth the same both "
        "times, in different words."
    )
    table = f'<table class="rows pairs">{head}<tbody>{rows}</tbody></table>'
    return figure("Flips by pair of models", note, table)


def _by_lead(view: View, bins: tuple[LeadBin, ...]) -> str:
    names = [name for name in (bins[0].differ if bins else {}) if name in view.looks]
    # Those that change most: exact exports have nothing to show.
    total = {name: sum(b.differ[name] for b in bins) for name in names}
    names = sorted((n for n in names if total[n]), key=lambda n: -total[n])[:_MOST_LEADS]
    if not names:
        return ""
    table_rows = [(b, [b.differ[name] / max(1, b.n) for name in names]) for b in bins]
    longest = max(value for _, values in table_rows for value in values) or 1
    rows = ""
    for b, values in table_rows:
        track = "".join(
            f'<i class="bar thin {view.color(name)}" style="left:0;width:{100 * v / longest:.1f}%">'
            "</i>"
            for name, v in zip(names, values, strict=True)
        )
        span = f"over {b.low:g}" if b.high is None else f"{b.low:g} to {b.high:g}"
        cells = "".join(f'<td class="val">{percent(v, 0) if b.n else DASH}</td>' for v in values)
        rows += (
            f'<tr><th scope="row" class="who nb">{span}<small> · {b.n:,}</small></th>'
            f'<td><span class="track" aria-hidden="true">{track}</span></td>{cells}</tr>'
        )
    key = "".join(f"<li>{view.named(name)}</li>" for name in names)
    heads = "".join(
        f'<th scope="col" class="val">{view.mark(n)}<span class="unseen">{escape(n)}</span></th>'
        for n in names
    )
    head = f'<thead><tr><th scope="col">lead · questions</th><td></td>{heads}</tr></thead>'
    note = "Share of answers that differ from the trained model's, by its lead in logits."
    table = f'<table class="rows">{head}<tbody>{rows}</tbody></table>'
    return figure("Close calls flip", note, table, key)


def _leaning(view: View, said: SaidCounts) -> str:
    answers = sorted(said.expected, key=lambda a: -said.expected[a])
    if {"yes", "no"} == set(answers):
        answers = ["yes", "no"]
    elif all(len(a) == 1 for a in answers):
        answers.sort()
    rows = _pieces("", "right answers", said.expected, answers, said.n)
    for name, counts in said.systems.items():
        if name in view.looks:
            rows += _pieces(view.mark(name), name, counts, answers, said.n)
    title = f"What was said: {said.kind}"
    note = (
        f"Share of each answer in {said.n:,} questions of {view.report.title_of(said.benchmark)}, "
        "%. The first row is how it should be."
    )
    return figure(title, escape(note), f'<table class="rows"><tbody>{rows}</tbody></table>')


def _pieces(mark: str, name: str, counts: dict[str, int], answers: list[str], n: int) -> str:
    named = [(answer, counts.get(answer, 0)) for answer in answers]
    named.append(("other", n - sum(count for _, count in named)))
    pieces = ""
    for i, (answer, count) in enumerate(named):
        if count <= 0:
            continue
        share = count / n
        room = share * 30 > len(answer)
        text = f"{answer} {100 * share:.0f}" if room and share > 0.13 else answer if room else ""
        kind = f"s{i % 4}" if i < len(answers) else "s4"
        pieces += (
            f'<i class="{kind}" style="flex:{count}" title="{escape(answer)}: {count:,} of {n:,}">'
            f"{escape(text)}</i>"
        )
    return (
        f'<tr><th scope="row" class="who">{mark}{escape(name)}</th>'
        f'<td><span class="pieces">{pieces}</span></td></tr>'
    )


def _list(view: View, comparison: Comparison) -> str:
    title = f"{comparison.reference} → {comparison.system}"
    if len({c.benchmark for c in view.report.comparisons}) > 1:
        title += f", {view.report.title_of(comparison.benchmark)}"
    if not comparison.flips:
        same = f"{comparison.same:,} of {comparison.n:,} answers equal"
        return fold(title, f"no score changed, {same}", "<p>Nothing to show.</p>")
    every = comparison.gained + comparison.lost
    rows = "".join(_flip(flip) for flip in comparison.flips)
    head = "".join(
        f'<th scope="col" class="t">{escape(name)}</th>'
        for name in ("question", "right", comparison.reference, comparison.system)
    )
    body = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Flips, {escape(title)}">'
        f'<table class="data"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    if comparison.flips_file:
        body += f'<p class="small">All of them: {escape(comparison.flips_file)}</p>'
    return fold(title, f"{every:,} flips, {len(comparison.flips)} here", body, long=True)


def _flip(flip: FlippedAnswer) -> str:
    cells = ""
    for text, credit in (
        (flip.reference_answer, flip.reference_credit),
        (flip.answer, flip.credit),
    ):
        better = credit >= 0.5
        sign = icon("yes", "mk", "right") if better else icon("no", "mk", "wrong")
        cells += f'<td class="t">{sign} {escape(shortened(text, _LONG))}</td>'
    return (
        f'<tr><th scope="row" class="t">{escape(shortened(flip.question, _LONG))}</th>'
        f'<td class="t">{escape(shortened(flip.expected, _LONG))}</td>{cells}</tr>'
    )
