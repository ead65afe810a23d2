"""What the trainer's token store costs at mix665k's size: building, a second start, one epoch.

Writes 665,000 records (no pictures: the store does not open them), then, each in a process of its
own, opens the rows for the first time and again, and orders an epoch of batches. Reports seconds,
the bytes on disk and the largest resident memory.

    python experiments/token_store.py

Needs base `smol` for its tokenizer. `--words` splits at white space instead: about as many tokens,
made in a fraction of the time, where only memory, disk and the second start are asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from made_mix import MadeMix

RESULT = Path(__file__).with_name("results") / "token_store.json"


def open_once(file: Path, base: Path, words: bool) -> dict[str, Any]:
    """Open the rows in this process and measure."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    from hydra_mobile.core.memory import peak_resident_bytes
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.models.templates import template_named
    from hydra_mobile.training.batches import epoch_batches
    from hydra_mobile.training.data.token_cache import open_rows

    processor = MobileVLMProcessor.from_pretrained(base)
    processor.template = template_named("v1")
    if words:
        vocabulary = {word: i for i, word in enumerate(["[UNK]", *MadeMix.words()])}
        processor.tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
        processor.tokenizer.pre_tokenizer = WhitespaceSplit()
    before, began = peak_resident_bytes(), time.perf_counter()
    rows = open_rows(
        file, None, processor, share_prefix=True, questions_per_row=8, max_length=2048,
        over_length="truncate",
    )  # fmt: skip
    opened = time.perf_counter() - began
    peak, began = peak_resident_bytes(), time.perf_counter()
    batches = epoch_batches(rows, 16, 0, 0, by_modality=True)
    ordered = time.perf_counter() - began
    began = time.perf_counter()
    for batch in batches[:100]:
        for index in batch:
            rows[index]
    read = (time.perf_counter() - began) / 100
    return {
        "open_seconds": opened,
        "peak_memory_bytes_before": before,
        "peak_memory_bytes": peak,
        "epoch_of_batches_seconds": ordered,
        "rows_of_a_batch_of_16_seconds": read,
        "conversations": int(rows.conversations.sum()),
        "rows": len(rows),
        "tokens_in_rows": int(rows.lengths.sum()),
        "truncated": rows.truncated,
        "unmatched": rows.unmatched,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=665_000)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--words", action="store_true", help="split at white space")
    parser.add_argument("--open", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(open_once(*arguments.open, arguments.words)))
        return
    from hydra_mobile.models.registry import base_folder

    base = base_folder("smol")
    tokenizer = "white space" if arguments.words else "smol"
    measured: dict[str, Any] = {"records": arguments.records, "tokenizer": tokenizer}
    with tempfile.TemporaryDirectory() as folder:
        planted = {"over-long samples": 35, "masked whole": 12}
        made = MadeMix(Path(folder), arguments.records, planted, 3000, with_pictures=False)
        made.write()
        environment = {**os.environ, "HYDRA_MOBILE_HOME": str(Path(folder) / "home")}
        for name in ("first", "second"):
            command = [sys.executable, "-W", "ignore", __file__, "--open"]
            command += [str(made.file), str(base)] + ["--words"] * arguments.words
            done = subprocess.run(
                command,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
            )
            measured[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, json.dumps(measured[name]), flush=True)
        measured["data_bytes"] = made.file.stat().st_size
        stored = (Path(folder) / "home" / "rows").rglob("*.npy")
        measured["store_bytes"] = sum(file.stat().st_size for file in stored)
    measured["machine"] = {"processor": platform.machine(), "cores": os.cpu_count()}
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(measured, indent=2) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
