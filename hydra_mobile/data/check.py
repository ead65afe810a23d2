"""Reads a whole data file, in any form, and counts what is wrong with it, in bounded memory.

Where training stops at the first fault, a check goes on: it names the first few of each kind. Of
665,000 records it keeps counts, histograms and eight bytes for each id and picture. Prints nothing
and knows no command line; `hydra-mobile data check` calls it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_mobile.core.errors import DataError
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.data.check_counts import Findings, Histogram, TokenCounts
from hydra_mobile.data.check_pictures import BadPicture, Depth, PictureCheck, digest
from hydra_mobile.data.json_stream import Place
from hydra_mobile.data.llava import Record, parse_record, record_place
from hydra_mobile.data.source import Source
from hydra_mobile.data.tokenize import encoded_records
from hydra_mobile.data.validate import faults_in, images_of
from hydra_mobile.models.processor import Encoded, MobileVLMProcessor, of_images
from hydra_mobile.models.templates import IGNORE_INDEX

_PROGRESS_EVERY_BYTES = 1 << 20

#: (records, bytes read, bytes in all)
Progress = Callable[[int, int, int], None]

#: What training stops at, in the order in which a report names it.
PROBLEMS = (
    "unreadable records",
    "malformed records",
    "wrong roles",
    "empty turns",
    "mismatched <image> marks",
    "several images",
    "missing pictures",
    "corrupt pictures",
    "refused by the template",
    "over-long samples",
)
#: What training works with, but a person may want to know.
REMARKS = (
    "duplicate ids",
    "masked whole",
    "named control tokens",
    "turned pictures",
    "scaled 16-bit pictures",
)


@dataclass(frozen=True)
class CheckOptions:
    """What to look at.

    Attributes:
        images: folder that record paths are relative to; None: the file's own folder.
        pictures: how closely to look at pictures.
        workers: threads that do; 0: as many as there are cores.
        processor: tokenizer and template; None: nothing is said about tokens.
        max_length: most tokens of a conversation, image tokens included.
        show: examples of each kind.
        columns: other names of the data's fields, see `dialects.Columns`.
    """

    images: Path | None = None
    pictures: Depth = "full"
    workers: int = 0
    processor: MobileVLMProcessor | None = None
    max_length: int = 2048
    show: int = 5
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass
class CheckResult:
    """What was found.

    Attributes:
        file: the data file.
        form: dialect and container, as recognized.
        options: what was looked at.
        findings: problems and remarks.
        records, with_picture, text_only: how many.
        turns: questions and answers per record.
        images: per record that has any.
        different_pictures: how many different ones the records name.
        tokens: by "with a picture" and "text only".
        bytes_read: of the file.
        stopped: why the file was not read to its end; "" if it was.
        seconds: that it took.
        peak_memory_bytes: largest resident set of this process.
    """

    file: Path
    options: CheckOptions
    findings: Findings
    form: str = ""
    records: int = 0
    with_picture: int = 0
    text_only: int = 0
    turns: Histogram = field(default_factory=Histogram)
    images: Histogram = field(default_factory=Histogram)
    different_pictures: int = 0
    tokens: dict[str, TokenCounts] = field(
        default_factory=lambda: {"with a picture": TokenCounts(), "text only": TokenCounts()}
    )
    bytes_read: int = 0
    stopped: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def problems(self) -> int:
        """How many things training would stop at."""
        return sum(self.findings.counts[kind] for kind in PROBLEMS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        found = self.findings.to_dict()
        none = {"count": 0, "examples": []}
        return {
            "file": str(self.file),
            "form": self.form,
            "records": self.records,
            "with_picture": self.with_picture,
            "text_only": self.text_only,
            "turns": self.turns.total,
            "most_images": self.images.quantiles(1.0)[0] if self.images.count else 0,
            "different_pictures": self.different_pictures,
            "pictures_looked_at": self.options.pictures,
            "problems": {kind: found.get(kind, none) for kind in PROBLEMS},
            "remarks": {kind: found.get(kind, none) for kind in REMARKS},
            "tokens": {kind: counts.to_dict() for kind, counts in self.tokens.items()},
            "max_length": self.options.max_length,
            "bytes_read": self.bytes_read,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "records_per_second": self.records / max(self.seconds, 1e-9),
            "peak_memory_bytes": self.peak_memory_bytes,
        }


def check_data(
    file: Path, options: CheckOptions, progress: Progress = lambda records, done, total: None
) -> CheckResult:
    """Read `file` to its end, or until it is interrupted, and return what was found.

    Raises:
        DataError: the file is missing.
    """
    return _Check(file, options, progress).run()


class _Check:
    def __init__(self, file: Path, options: CheckOptions, progress: Progress) -> None:
        # Without a look at pictures none has to be on disk.
        keep = options.pictures != "none"
        self._source = Source(file, options.columns, keep_pictures=keep)
        self._options = options
        self._progress = progress
        self._result = CheckResult(file, options, Findings(options.show))
        self._folder = self._source.folder if options.images is None else options.images
        self._pictures = PictureCheck(options.pictures, options.workers, self._bad_picture)
        self._ids: set[int] = set()
        self._shown_bytes = 0
        # Names of the records that are being tokenized.
        self._places: deque[str] = deque()

    def run(self) -> CheckResult:
        result, began = self._result, time.monotonic()
        try:
            self._read()
            self._pictures.finish()
        except KeyboardInterrupt:
            result.stopped = "interrupted"
            self._pictures.stop()
        result.form = self._source.title
        result.bytes_read = self._source.bytes_read
        result.different_pictures = self._pictures.different
        result.seconds = time.monotonic() - began
        result.peak_memory_bytes = peak_resident_bytes()
        self._progress(result.records, self._source.bytes_read, self._source.bytes_total)
        return result

    def _read(self) -> None:
        try:
            if self._options.processor is None:
                for _ in self._sound_records():
                    pass
            else:
                for record, encoded in encoded_records(
                    self._sound_records(), self._options.processor
                ):
                    self._count_tokens(self._places.popleft(), record, encoded)
        except DataError as error:
            # Behind a fault in the JSON itself nothing can be read.
            self._result.stopped = error.what
            self._result.findings.add("unreadable records", error.what)

    def _sound_records(self) -> Iterator[Record]:
        """Read the file, count, and yield the records that could be trained on."""
        for place in self._source:
            self._result.records += 1
            name = _name(place)
            if isinstance(place.value, DataError):
                self._result.findings.add("unreadable records", place.value.what)
            elif self._look_at(place.value, name):
                self._places.append(name)
                yield parse_record(place.value, place.where, self._folder)
            if self._source.bytes_read - self._shown_bytes >= _PROGRESS_EVERY_BYTES:
                self._shown_bytes = self._source.bytes_read
                self._progress(
                    self._result.records, self._source.bytes_read, self._source.bytes_total
                )

    def _look_at(self, value: Any, name: str) -> bool:
        """Count what is in a record and what is wrong with it; return whether nothing is."""
        result = self._result
        sound = True
        for fault in faults_in(value):
            sound = False
            result.findings.add(fault.kind, name + fault.what)
        if not isinstance(value, dict):
            return sound
        turns = value.get("conversations")
        result.turns.add(len(turns) if isinstance(turns, list) else 0)
        if value.get("image") is None:
            result.text_only += 1
        else:
            result.with_picture += 1
        images = images_of(value)
        if images:
            result.images.add(len(images))
        for image in images:
            self._pictures.add(self._folder, image, name)
        self._look_at_id(value.get("id"), name)
        return sound

    def _look_at_id(self, key: Any, name: str) -> None:
        if key is None:
            return
        hashed = digest(str(key))
        if hashed in self._ids:
            self._result.findings.add("duplicate ids", f"{name} has the id of an earlier record.")
        self._ids.add(hashed)

    def _count_tokens(self, name: str, record: Record, encoded: Encoded | DataError) -> None:
        findings = self._result.findings
        if isinstance(encoded, DataError):
            # The one thing that a base takes and another does not.
            placed = "several images" if len(record.placed) > 1 else "refused by the template"
            findings.add(placed, f"{name}: {encoded.what}")
            return
        processor = self._options.processor
        if processor is not None and (
            named := processor.control.names_in(
                " ".join(text for turn in record.turns for text in (turn.question, turn.answer))
            )
        ):
            findings.add("named control tokens", f"{name} names {named[0]}, which stays text.")
        length = encoded.length
        learned = len(encoded.labels) - encoded.labels.count(IGNORE_INDEX)
        kind = "with a picture" if record.images else "text only"
        self._result.tokens[kind].add(length, learned)
        if not encoded.matched:
            findings.add("masked whole", f"{name}: its text holds a separator of the template.")
        elif length > self._options.max_length:
            findings.add("over-long samples", f"{name} has {length} tokens{of_images(encoded)}.")

    def _bad_picture(self, bad: BadPicture) -> None:
        self._result.findings.add(bad.kind, f"{bad.record}: {bad.why}")


def _name(place: Place) -> str:
    """Return "record 17 (id 'x')": the file is the same for all."""
    where = place.where.rsplit(", ", 1)[-1]
    return record_place(place.value, where)
