"""Every number on the command line has a range; what lies outside is refused when it is read."""

from __future__ import annotations

import typing

import pytest
import typer

from hydra_mobile.cli.main import app


def numbers(group: typer.Typer, path: tuple[str, ...]):
    """Yield (words of the verb, name on the command line, option) for every number below."""
    for command in group.registered_commands:
        for name, hint in command.callback.__annotations__.items():
            if typing.get_origin(hint) is not typing.Annotated:
                continue
            kind, option = hint.__origin__, hint.__metadata__[0]
            if {int, float} & {kind, *typing.get_args(kind)}:
                named = next((n for n in option.param_decls or () if n.startswith("--")), None)
                yield (*path, command.name), named or f"--{name.replace('_', '-')}", option
    for inner in group.registered_groups:
        yield from numbers(inner.typer_instance, (*path, inner.name))


NUMBERS = list(numbers(app, ()))
ODD = ("nan", "inf", "-inf", "1e30", "", " ", "1,5", "0x10", "one")


def limits(option):
    ranged = option.parser or option
    return (
        getattr(ranged, "least", getattr(ranged, "min", None)),
        getattr(ranged, "most", getattr(ranged, "max", None)),
    )


def test_every_number_has_a_range():
    assert len(NUMBERS) > 30
    free = [(*verb, name) for verb, name, option in NUMBERS if None in limits(option)]
    assert free == []


def refusal(run_verb, verb, name, value):
    code, _, err = run_verb(*verb, name, str(value))
    assert code == 2, (value, err)
    assert name in err
    assert "Traceback" not in err
    assert len(err) < 1000


@pytest.mark.parametrize(
    ("verb", "name", "option"), NUMBERS, ids=[" ".join((*v, n)) for v, n, _ in NUMBERS]
)
def test_what_lies_outside_of_the_range_is_refused_by_the_name_of_the_option(
    verb, name, option, run_verb
):
    least, most = limits(option)
    # Where 0 is below the range it is "without a limit".
    for value in (least - 1 or -1, most + 1, *ODD):
        refusal(run_verb, verb, name, value)


@pytest.mark.parametrize("value", [10**23, "9" * 5000, "1e400", "\u00b2"])
@pytest.mark.parametrize(
    ("verb", "name"),
    [("estimate", "--gpu-memory"), ("evaluate", "--threads"), ("bench", "--repeats")],
)
def test_what_is_no_number_is_refused_by_each_kind_of_option(verb, name, value, run_verb):
    refusal(run_verb, (verb,), name, value)
