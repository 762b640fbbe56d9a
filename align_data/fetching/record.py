"""What the table `images` says of the run that a part of it was made in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from align_data.data.meta import ImagesMeta, PairsMeta
from align_data.fetching.client import Policy
from align_data.storage.tables import Manifest

CLIENT = 3
"""Version of what the client accepts: URLs that an older version gave up on are requested again."""


def decisive(policy: Policy) -> dict[str, Any]:
    """Return what of a policy decides which outcomes are final."""
    servers = {"dns": list(policy.dns)} if policy.dns else {}
    return {
        **servers,
        "allowed": list(policy.guard.allowed),
        "client": CLIENT,
        "denied": list(policy.guard.denied),
        "formats": sorted(policy.formats),
        "ignore_opt_out": policy.ignore_opt_out,
        "ignore_robots": policy.ignore_robots,
        "max_bytes": policy.max_bytes,
        "proxy": policy.proxy is not None,
    }


def facts(run: int, pairs: Manifest[PairsMeta], part: int, policy: Policy, chunk: int) -> dict[str, Any]:
    """Say what a part, or a chunk of it, was made in."""
    return {"run": run, "pairs": pairs.parts[part].identity, "policy": decisive(policy), "chunk": chunk}


def meta(
    run: int,
    pairs: Manifest[PairsMeta],
    scope: str,
    policy: Policy,
    statuses: dict[str, int],
    formats: Sequence[str] = (),
) -> ImagesMeta:
    """Say what all parts were made in: `asked` is 'all', or what tells the ledger from another.

    `formats` are the optional ones that this run or one before kept.
    """
    return ImagesMeta(
        run=run,
        pairs=pairs.fingerprint,
        asked=scope,
        policy=decisive(policy),
        statuses=statuses,
        formats=list(formats),
    )
