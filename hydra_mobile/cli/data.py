"""`hydra-mobile data ...`: checks and builds training data."""

from __future__ import annotations

from hydra_mobile.cli import benchmarks, data_check, data_convert, data_head, emojiqa, ui

app = ui.new_app("Check, show or convert training data.")

ui.add(
    app,
    data_check.check,
    schema="data-check",
    examples=["hydra-mobile data check my_chats.jsonl --base smol"],
    renamed={"--show": "--examples"},
    renamed_values={"--pictures": {"full": "decode"}},
)
ui.add(
    app,
    data_head.head,
    schema="data-head",
    examples=["hydra-mobile data head my_chats.jsonl --base smol"],
)
ui.add(
    app,
    data_convert.convert,
    schema="data-convert",
    examples=["hydra-mobile data convert chats.parquet --out chats.json"],
)
ui.add(app, emojiqa.emojiqa, schema="data-emojiqa", brief=True)
ui.aliases(
    app,
    ("check-benchmark", benchmarks.check, "benchmarks check"),
    renamed_values=benchmarks.OLD_PICTURES,
)
ui.aliases(app, ("tsv", benchmarks.table, "benchmarks table"), brief=True)
