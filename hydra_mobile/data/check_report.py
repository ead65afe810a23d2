"""A data check in lines of text: what was read, what is wrong, what it means for training."""

from __future__ import annotations

from collections.abc import Iterator

from hydra_mobile.core.progress import duration
from hydra_mobile.data.check import PROBLEMS, REMARKS, CheckResult

_LOOKED_AT = {
    "full": "each decoded once",
    "header": "the beginning of each read once",
    "exists": "asked for once, not opened",
    "none": "not looked at",
}
_NEEDS_PICTURES = {"missing pictures", "corrupt pictures"}
_NEEDS_TOKENS = {
    *("refused by the template", "several images", "over-long samples", "masked whole"),
}
#: Seconds from which on the cost of a check interests somebody who has more data to check.
_WORTH_SAYING = 10
_COLUMNS = ("min", "median", "mean", "p95", "p99", "max")


def report_lines(result: CheckResult) -> Iterator[str]:
    """Yield the report, the verdict last."""
    yield from _read(result)
    yield "problems (training stops at these)"
    yield from _kinds(result, PROBLEMS)
    yield "remarks (training goes on)"
    yield from _kinds(result, REMARKS)
    yield from _tokens(result)
    yield verdict(result)


def verdict(result: CheckResult) -> str:
    """Return one line: clean, or how much is wrong."""
    unread = f"; not read to its end: {result.stopped}" if result.stopped else ""
    if result.problems:
        thing = "problem" if result.problems == 1 else "problems"
        return f"{result.file}: {result.problems:,} {thing} in {result.records:,} records{unread}"
    if unread or not result.records:
        return f"{result.file}: no problem in {result.records:,} records{unread}"
    return f"{result.file}: clean, {result.records:,} records"


def _read(result: CheckResult) -> Iterator[str]:
    yield f"{result.file}: {result.form}, {result.records:,} records"
    if result.seconds >= _WORTH_SAYING:
        yield (
            f"  {result.bytes_read / 1e6:,.0f} MB in {duration(result.seconds)}, "
            f"{result.records / result.seconds:,.0f} records/s, "
            f"peak memory {result.peak_memory_bytes / 2**20:,.0f} MiB"
        )
    pictures = f"{result.different_pictures:,} different images, "
    yield _line(
        "with an image", result.with_picture, pictures + _LOOKED_AT[result.options.pictures]
    )
    if result.images.count and (most := result.images.quantiles(1.0)[0]) > 1:
        yield _line("images", result.images.total, f"up to {most:,} a record")
    yield _line("text only", result.text_only)
    turns = result.turns
    if turns.count:
        low, middle, high = turns.quantiles(1e-12, 0.5, 1.0)
        spread = f"{low} to {high} a record, median {middle}, mean {turns.total / turns.count:.1f}"
        yield _line("turns", turns.total, spread)


def _shown(kind: str) -> str:
    """Return how people read the name of a kind; programs know it by the older one."""
    return kind.replace("a picture", "an image").replace("picture", "image")


def _kinds(result: CheckResult, kinds: tuple[str, ...]) -> Iterator[str]:
    """Yield the kinds that were found or not looked for; the JSON document counts them all."""
    none = True
    for kind in kinds:
        unknown = _not_checked(result, kind)
        if unknown:
            yield f"  {_shown(kind):<26}{'-':>11}   {unknown}"
        elif result.findings.counts[kind]:
            none = False
            yield _line(_shown(kind), result.findings.counts[kind])
            for example in result.findings.examples.get(kind, []):
                yield f"      {example}"
    if none:
        yield "  none"


def _not_checked(result: CheckResult, kind: str) -> str:
    depth = result.options.pictures
    if kind in _NEEDS_PICTURES and depth == "none":
        return "not checked: --pictures none"
    if kind == "corrupt pictures" and depth == "exists":
        return "not checked: --pictures exists opens none"
    if kind in _NEEDS_TOKENS and result.options.processor is None:
        return "not checked: needs a tokenizer, give --base"
    return ""


def _tokens(result: CheckResult) -> Iterator[str]:
    processor = result.options.processor
    if processor is None:
        yield "tokens: not counted, give --base"
        return
    yield (
        f"tokens (template {processor.template.name}, {len(processor.image_ids)} for an image, "
        f"limit {result.options.max_length:,})"
    )
    yield f"  {'':<15}" + "".join(f"{name:>9}" for name in (*_COLUMNS, "learned"))
    for kind, counts in result.tokens.items():
        values = counts.to_dict()
        if values:
            numbers = "".join(f"{values[name]:>9,.0f}" for name in _COLUMNS)
            yield f"  {_shown(kind):<15}{numbers}{values['learned_share']:>9.1%}"


def _line(what: str, count: int, more: str = "") -> str:
    return f"  {what:<26}{count:>11,}" + (f"   {more}" if more else "")
