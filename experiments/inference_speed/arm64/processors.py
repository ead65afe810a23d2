"""The arm64 processors that qemu plays, and what llama.cpp is compiled for on each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Processor:
    """One processor.

    Attributes:
        name: of its best instructions for products of bytes.
        qemu: qemu's name, with what is switched off.
        march: what gcc is told; our libraries choose their kernels when they run.
    """

    name: str
    qemu: str
    march: str


PROCESSORS = (
    Processor("dotprod", "cortex-a76", "armv8.2-a+dotprod+fp16"),
    Processor("i8mm", "max,sve=off,sme=off", "armv8.2-a+dotprod+fp16+i8mm"),
)
