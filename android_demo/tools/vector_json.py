"""JSON texts that Python, the C++ runner and the app read or refuse alike."""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.core.files import write_json

_EMPTY = '""'

#: Values that are read.
SOUND = {
    "numbers": "[0, -0, 1.5e-3, -2E+2, 9007199254740993, 1e308, 5e-324]",
    "texts": '["", "\\u00e9\\ud83d\\ude00\\/", "\u00e4\u6c34\U0001f600", "NaN"]',
    "same key in other objects": '[{"a": 1}, {"a": {"a": 2}}]',
    "keys that differ in their writing": '{"a": 1, "A": 2, "a ": 3, "\u00e4": 4, "a\u0308": 5}',
    "empty": "[{}, []]",
    "deep": "[" * 62 + "0" + "]" * 62,
    "blanks": " \t\r\n[ 1 ,\n2 ] ",
}
#: Values that are refused.
REFUSED = {
    "key twice": '{"a": 1, "a": 1}',
    "key twice, deeper": '[{"a": [0, {"b": {"c": 1, "d": 2, "c": 3}}]}]',
    "key twice, written in two ways": '{"a": 1, "\\u0061": 2}',
    "empty key twice": f"{{{_EMPTY}: 1, {_EMPTY}: 2}}",
    "key twice behind another object": '{"a": {"b": 1}, "b": 2, "a": 3}',
    "nan": "[NaN]",
    "infinity": '{"a": Infinity}',
    "negative infinity": "[-Infinity]",
    "too large": "[1e999]",
    "too small": "-1e400",
    "deeper": "[" * 64 + "]" * 64,
    "deeper, objects": '{"a": ' * 64 + "0" + "}" * 64,
    "very deep": "[" * 100_000,
    "comma at the end": "[1, 2,]",
    "no comma": '{"a": 1 "b": 2}',
    "comment": "[1] // one",
    "single quotes": "{'a': 1}",
    "bare key": "{a: 1}",
    "leading zero": "[01]",
    "no digit behind the point": "[1.]",
    "plus": "[+1]",
    "hexadecimal": "[0x10]",
    "control character": '["a\x01b"]',
    "newline in a text": '["a\nb"]',
    "unknown escape": '["\\x41"]',
    "short escape": '["\\u12g4"]',
    "two values": "[1] [2]",
    "cut short": '{"a": [1, 2',
    "nothing": "",
}
#: Whole texts that are refused whatever they hold.
MARKED = {"mark of the byte order": b"\xef\xbb\xbf{}", "bytes that are no UTF-8": b'{"a": "\xff"}'}


def write_json_texts(folder: Path) -> None:
    """Write each as an object, and `texts.json`: file, name, whether it is read."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {name: within(value) for name, value in {**SOUND, **REFUSED}.items()} | MARKED
    entries = []
    for number, (name, text) in enumerate(texts.items()):
        file = folder / f"{number}.json"
        file.write_bytes(text)
        entries.append({"file": file.name, "name": name, "read": name in SOUND})
    write_json(folder / "texts.json", entries)


def within(value: str) -> bytes:
    """Return an object that holds a value under `value`."""
    return f'{{"value": {value}}}'.encode()
