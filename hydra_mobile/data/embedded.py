"""Images that are inside a data file: written once to the cache, named by their content.

Training reads images by path and again in every epoch; a parquet page or a compressed tar cannot
be read at random.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hydra_mobile.core.files import cache_home, write_atomically

_KINDS = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8", ".jpg"),
    (b"RIFF", ".webp"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


def place_of(data: bytes) -> str:
    """Return the absolute path that an image of this content has in the cache."""
    name = hashlib.blake2b(data, digest_size=20).hexdigest()
    suffix = next((suffix for start, suffix in _KINDS if data.startswith(start)), ".image")
    return str((cache_home() / "images" / name[:2] / f"{name}{suffix}").absolute())


def unpack(data: bytes) -> str:
    """Write an image to the cache unless it is there as it was; return its absolute path.

    Raises:
        HydraError: the disk is full or cannot be written.
    """
    path = Path(place_of(data))
    try:
        known = path.read_bytes() == data
    except OSError:
        known = False
    if not known:
        # Syncing them to the disk one by one takes longer than all the rest.
        with write_atomically(path, synced=False) as temporary:
            temporary.write_bytes(data)
    return str(path)
