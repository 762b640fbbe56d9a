"""What the table `images` says of the run that a part of it was made in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_data.data.meta import ImagesMeta, PairsMeta
from align_data.fetching.client import Policy
from align_data.fetching.keeping import Keeping
from align_data.fetching.outcome import NOT_KEPT
from align_data.storage.tables import Manifest

CLIENT = 3
"""Version of what the client accepts: URLs that an older version gave up on are requested again."""


def decisive(policy: Policy, keeping: Keeping = Keeping()) -> dict[str, Any]:  # noqa: B008 - frozen
    """Return what of a policy decides which outcomes are final."""
    servers = {"dns": list(policy.dns)} if policy.dns else {}
    return {
        **servers,
        **keeping.decisive(),
        "allowed": list(policy.guard.allowed),
        "client": CLIENT,
        "denied": list(policy.guard.denied),
        "formats": sorted(policy.formats),
        "ignore_opt_out": policy.ignore_opt_out,
        "ignore_robots": policy.ignore_robots,
        "max_bytes": policy.max_bytes,
        "proxy": policy.proxy is not None,
    }


def keeps_otherwise(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether what was decisive before stored images in another size."""
    return bool(before.get("keep") != now.get("keep"))


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the statuses that were final by what was decisive before, and are not by what is now."""
    statuses = []
    if before.get("client", 1) != now["client"]:
        statuses += ["bad_response", "bad_url", "http_201", "http_202", "http_203", "http_206"]
    if (before["allowed"], before.get("denied", [])) != (now["allowed"], now["denied"]):
        statuses.append("refused_address")
    if before["proxy"] != now["proxy"]:
        statuses += ["refused_address", "dns"]  # the proxy looks names up
    if before.get("dns", []) != now.get("dns", []):
        statuses.append("dns")
    if now["ignore_opt_out"] and not before["ignore_opt_out"]:
        statuses.append("opted_out")
    if now["ignore_robots"] and not before.get("ignore_robots", True):
        statuses += ["robots_disallowed", "robots_unreachable"]
    if now["max_bytes"] > before["max_bytes"]:
        statuses.append("too_large")
    if not set(now["formats"]) <= set(before.get("formats", [])):
        statuses.append("not_an_image")
    if any(now.get(name) != before.get(name) for name in ("keep", "rules")):
        statuses.append(NOT_KEPT)
    return statuses


def facts(run: int, pairs: Manifest[PairsMeta], part: int, policy: Mapping[str, Any], chunk: int) -> dict[str, Any]:
    """Say what a part, or a chunk of it, was made in; of the policy what is decisive."""
    return {"run": run, "pairs": pairs.parts[part].identity, "policy": policy, "chunk": chunk}


def meta(
    run: int,
    pairs: Manifest[PairsMeta],
    scope: str,
    policy: Mapping[str, Any],
    statuses: dict[str, int],
    formats: Sequence[str] = (),
    *,
    reduced: bool = False,
    sampled: int = 0,
) -> ImagesMeta:
    """Say what all parts were made in: `asked` is 'all', or what tells the ledger from another.

    `policy` is what is decisive of it, `formats` are the optional ones that this run or one before kept, and `reduced`
    is whether one of them may have stored images smaller than fetched, or not at all. `sampled` is of how many parts,
    from the first, one of them sampled images that a ledger drops.
    """
    meta = ImagesMeta(
        run=run, pairs=pairs.fingerprint, asked=scope, policy=dict(policy), statuses=statuses, formats=list(formats)
    )
    further = {**({"reduced": True} if reduced else {}), **({"sampled": sampled} if sampled else {})}
    return meta.model_copy(update=further) if further else meta
