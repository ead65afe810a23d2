"""A look over a benchmark's folder in lines of text, the verdict last."""

from __future__ import annotations

from collections.abc import Iterator

from hydra_mobile.benchmarks.checks.check import BenchmarkCheck, FileCheck

_NAMED = 3


def check_lines(check: BenchmarkCheck) -> Iterator[str]:
    """Yield the check as lines for people, the verdict last."""
    yield f"{check.benchmark} in {check.data} (protocol {check.protocol})"
    for file in check.files:
        yield "  " + _file_line(file)
    splits = ", ".join(f"{split} {count:,}" for split, count in check.questions.items())
    total = sum(check.questions.values())
    if total:
        yield f"  questions   {total:,} ({splits}), {check.answered:,} with a right answer"
        there = check.pictures - len(check.missing_pictures)
        yield f"  images      {check.pictures:,} named, {there:,} there, {check.opened:,} opened"
    for what, names in (("missing", check.missing_pictures), ("broken", check.bad_pictures)):
        if names:
            more = f", and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            yield f"  {what:<11} {', '.join(names[:_NAMED])}{more}"
    for problem in check.problems:
        yield f"  problem     {problem}"
    yield verdict(check)


def verdict(check: BenchmarkCheck) -> str:
    """Return one line: ready, ready for some things, or not."""
    if check.can_ask and check.can_score:
        return f"{check.benchmark}: ready to evaluate and to score"
    if check.can_ask:
        return (
            f"{check.benchmark}: ready to evaluate; there are no right answers, so that gives a "
            "submission and no accuracy"
        )
    lacking = _lacking(check)
    if check.can_score:
        return f"{check.benchmark}: ready to score existing answers, not to evaluate: {lacking}"
    return f"{check.benchmark}: not ready: {lacking}"


def _lacking(check: BenchmarkCheck) -> str:
    missing = [f.path for f in check.files if f.required and not f.found]
    broken = [f.path for f in check.files if f.problem]
    reasons = [
        f"{', '.join(missing)} missing" if missing else "",
        f"{', '.join(broken)} cannot be read" if broken else "",
        f"{len(check.missing_pictures):,} of {check.pictures:,} images missing"
        if check.missing_pictures
        else "",
        f"{len(check.bad_pictures):,} images broken" if check.bad_pictures else "",
    ]
    told = "; ".join(reason for reason in reasons if reason)
    return told or ("see the problems above" if check.problems else "there are no questions")


def _file_line(file: FileCheck) -> str:
    state = "found" if file.found else ("MISSING" if file.required else "absent")
    parts = [f"{state:<11} {file.path}: {file.what}"]
    if file.count is not None:
        official = " or ".join(f"{count:,}" for count in file.official)
        told = f", official releases have {official}" if file.unofficial else ""
        parts.append(f"{file.count:,}{told}")
    if file.problem:
        parts.append(f"CANNOT BE READ: {file.problem}")
    return "; ".join(parts)
