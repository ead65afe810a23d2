"""Does it fit my phone, and how fast is it?"""

from __future__ import annotations

import math
from html import escape

from hydra_mobile.reporting import tables
from hydra_mobile.reporting.evidence import PhoneMemory
from hydra_mobile.reporting.page.marks import (
    NB,
    figure,
    fold,
    icon,
    number,
    section,
)
from hydra_mobile.reporting.page.table_html import table_html
from hydra_mobile.reporting.page.view import View
from hydra_mobile.reporting.results import SystemResult

_MIB = 2**20
#: Pixels of a phone with 4 GiB; the area follows the memory.
_TALL, _SLIM, _SMALLEST = 92.0, 0.52, 4.0
_NAMES = {
    "weights": "weights",
    "cache": "key-value cache",
    "tokenizer": "tokenizer",
    "runtime": "runtime",
}


def phone(view: View) -> str:
    """Return the section; "" where neither memory nor speed is known."""
    chosen = view.ship or next((s for s in view.exports if s.phone), None)
    memory = chosen.phone if chosen else None
    if memory is None and not view.timed:
        return ""
    parts, body = [], ""
    if memory and chosen:
        fits = [gib for gib, usable in memory.usable.items() if memory.needed <= usable]
        first = f"fits phones from {fits[0]}{NB}GiB" if fits else "fits none of these phones"
        parts.append(
            f"<b>{escape(chosen.name)} {first}</b>, by an estimate: "
            f"{number(memory.needed / _MIB)}{NB}MiB at its peak with the app around it."
        )
        body += f'<div class="two uneven">{_phones(chosen, memory)}{_parts(view, memory)}</div>'
    if view.timed:
        body += _speed(view, parts)
    else:
        parts.append("Speed was not measured.")
    timings = tables.timings_table(view.report)
    body += fold("All timings", "median and quartiles", table_html(timings)) if view.timed else ""
    title = "Does it fit my phone, and how fast is it?" if memory else "How fast is it?"
    return section("phone", title, " ".join(parts), body)


def _phones(chosen: SystemResult, memory: PhoneMemory) -> str:
    items = ""
    for gib, usable in memory.usable.items():
        size = float(gib)
        tall = _TALL * math.sqrt(size / _SMALLEST)
        wide, whole = tall * _SLIM, size * 2**30
        filled, kept = tall * min(1.0, memory.needed / whole), tall * (1 - usable / whole)
        fits = memory.needed <= usable
        clip = f"phone-{gib}"
        items += (
            f'<li><svg width="{wide + 6:.0f}" height="{tall + 6:.0f}" '
            f'viewBox="-3 -3 {wide + 6:.1f} {tall + 6:.1f}" aria-hidden="true">'
            f'<clipPath id="{clip}"><rect width="{wide:.1f}" height="{tall:.1f}" rx="9"/>'
            f'</clipPath><g clip-path="url(#{clip})">'
            f'<rect class="p-body" width="{wide:.1f}" height="{tall:.1f}" stroke="none"/>'
            f'<rect class="p-system" width="{wide:.1f}" height="{kept:.1f}"/>'
            f'<rect class="p-fill" y="{tall - filled:.1f}" width="{wide:.1f}" '
            f'height="{filled:.1f}"/></g>'
            f'<path class="p-cut" d="M0 {kept:.1f}H{wide:.1f}"/>'
            f'<rect class="p-body" style="fill:none" width="{wide:.1f}" height="{tall:.1f}" '
            f'rx="9"/></svg><b>{gib} GiB</b>'
            f"<small>{'✓ fits' if fits else '✗ does not fit'}</small>"
            f"<small>{number(memory.needed / _MIB)} of {number(usable / _MIB)} MiB</small></li>"
        )
    note = (
        "Colored: what model and app need at the peak. Gray above the line: not for one app. The "
        "line is assumed: 35% of a phone below 6 GiB, half of a larger one."
    )
    title = f"{chosen.name} on {len(memory.usable)} phones"
    return figure(title, note, f'<ul class="phones">{items}</ul>')


def _parts(view: View, memory: PhoneMemory) -> str:
    named = {"app": memory.app, **memory.parts}
    most = max(named.values()) or 1
    rows = "".join(
        f'<tr><th scope="row" class="who">{escape(_NAMES.get(name, name))}</th>'
        '<td><span class="track c-orange" aria-hidden="true">'
        f'<i class="bar" style="left:0;width:{100 * size / most:.1f}%"></i></span></td>'
        f'<td class="val">{number(size / _MIB)}</td></tr>'
        for name, size in sorted(named.items(), key=lambda item: -item[1])
    )
    others = [s for s in view.exports if s.phone and s.phone is not memory][:3]
    told = "; ".join(
        f"{escape(s.name)} needs {number(s.phone.needed / _MIB)}" for s in others if s.phone
    )
    note = f"MiB at the peak, {number(memory.needed / _MIB)} in all. {told}{'.' if told else ''}"
    basis = f'<p class="small">Basis: {escape(memory.basis)}.</p>' if memory.basis else ""
    return figure(
        "What takes the memory", note, f'<table class="rows"><tbody>{rows}</tbody></table>{basis}'
    )


def _speed(view: View, parts: list[str]) -> str:
    body = ""
    caution = tables.caution(view.report.environment)
    if view.busy:
        parts.append(
            "The computer was busy while timing, so <b>speeds are not reliable</b> and none is "
            "judged."
        )
        words = view.busy[0].upper() + view.busy[1:]
        body += (
            f'<p class="caution">{icon("warn")}<span>{escape(words)}. Speeds below may be several '
            "times too low, and not equally so for all. To time again when the computer is idle, "
            "remove the files <code>facts.json</code> below <code>answers</code> and run the same "
            "<code>hydra-mobile evaluate</code>: answers are kept.</span></p>"
        )
    if not view.on_phone:
        parts.append(escape(caution))
    striped = "Striped: not reliable. " if view.busy else ""
    first = _first_word(view)
    if first:
        note = f"Strong: image. Pale: question. {striped}Median; shorter is better."
        first = figure("Time to the first word, ms", note, first)
    decode = _decode(view)
    note = "Median with quartiles; longer is better."
    return f'{body}<div class="two">{first}{figure("Tokens a second after it", note, decode)}</div>'


def _first_word(view: View) -> str:
    found = []
    for system in view.timed:
        first, encode = system.timings.first_token, system.timings.encode
        if first:
            image = min(encode.median, first.median) if encode else 0.0
            found.append((system.name, image, first.median - image))
    slowest = max((image + rest for _, image, rest in found), default=0.0) or 1.0
    unsure = " unsure" if view.busy else ""
    rows = ""
    for name, image, rest in found:
        a, b = 100 * image / slowest, 100 * rest / slowest
        rows += (
            f'<tr><th scope="row" class="who">{view.named(name)}</th>'
            f'<td><span class="track {view.color(name)}" aria-hidden="true">'
            f'<i class="bar{unsure}" style="left:0;width:{a:.1f}%"></i>'
            f'<i class="bar second{unsure}" style="left:{a:.1f}%;width:{b:.1f}%"></i></span></td>'
            f'<td class="val">{number(1000 * (image + rest))}</td></tr>'
        )
    return f'<table class="rows"><tbody>{rows}</tbody></table>' if rows else ""


def _decode(view: View) -> str:
    found = [
        (s.name, s.timings.decode_tokens_per_second)
        for s in view.timed
        if s.timings.decode_tokens_per_second
    ]
    fastest = max((d.p75 for _, d in found), default=0.0) or 1.0
    unsure = " unsure" if view.busy else ""
    rows = ""
    for name, d in found:
        left, width = 100 * d.p25 / fastest, 100 * (d.p75 - d.p25) / fastest
        rows += (
            f'<tr><th scope="row" class="who">{view.named(name)}</th>'
            f'<td><span class="track {view.color(name)}" aria-hidden="true">'
            f'<i class="bar{unsure}" style="left:0;width:{100 * d.median / fastest:.1f}%"></i>'
            f'<i class="ci" style="left:{left:.1f}%;width:{width:.1f}%;color:var(--ink)"></i>'
            f'</span></td><td class="val">{d.median:.3g}'
            f"<small>{d.p25:.3g} to {d.p75:.3g}</small></td></tr>"
        )
    return f'<table class="rows"><tbody>{rows}</tbody></table>'
