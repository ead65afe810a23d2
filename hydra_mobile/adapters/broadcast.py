"""One rank map on all processes: the first one decides, the others check.

A map is a small list of integers, so it is broadcast rather than recomputed: sums that differ in
the last bit between processes must not lead to different ranks.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.errors import HydraError


def distributed() -> bool:
    """Return whether there is more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def broadcast(rank_map: RankMap) -> RankMap:
    """Return process 0's ranks, for the modules that this process names.

    Raises:
        HydraError: the processes name different modules.
    """
    if not distributed():
        return rank_map
    names = sorted(rank_map)
    require_same("the names of the adapted modules", RankMap(dict.fromkeys(names, 1)).digest())
    ranks = torch.tensor([rank_map[n] for n in names], dtype=torch.int64, device=_device())
    dist.broadcast(ranks, 0)
    received = dict(zip(names, ranks.tolist(), strict=True))
    return RankMap({name: received[name] for name in rank_map})


def require_same(what: str, digest: str) -> None:
    """Compare a sha256 on all processes.

    Raises:
        HydraError: on every process, naming one that differs.
    """
    if not distributed():
        return
    own = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.int64, device=_device())
    all_digests = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(all_digests, own)
    differing = [i for i, other in enumerate(all_digests) if not torch.equal(other, all_digests[0])]
    if differing:
        raise HydraError(
            f"Process {differing[0]} and process 0 disagree on {what}; training stopped before "
            "they could train different models.",
            "Check that all processes run the same version on the same data; `--resume` goes on "
            "from the last checkpoint.",
        )


def mean(values: Tensor) -> Tensor:
    """Return the mean of float tensors [n] over all processes."""
    if not distributed():
        return values
    on_device = values.to(_device())
    dist.all_reduce(on_device)
    return (on_device / dist.get_world_size()).to(values.device)


def same_tensors(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with process 0's."""
    if not distributed():
        return
    for tensor in tensors:
        received = tensor.detach().to(_device())
        dist.broadcast(received, 0)
        with torch.no_grad():
            tensor.copy_(received)


def _device() -> torch.device:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
