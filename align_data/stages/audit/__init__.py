"""Audit: what each rule of a ledger did, and what another threshold would do."""

from align_data.stages.audit.by_batch import by_batch
from align_data.stages.audit.choose import SweepRequest
from align_data.stages.audit.counts import Audit, RuleAudit, audit, count, examples
from align_data.stages.audit.diff import Diff, diff
from align_data.stages.audit.marked import DRAW, MarkedAudit, MarkedRule, Share, marked
from align_data.stages.audit.near import NearMethod, near_duplicates
from align_data.stages.audit.survey import SAMPLES, Survey, survey
from align_data.stages.audit.sweep import Swept, sweep
from align_data.stages.audit.sweep_table import SweptSide, SweptTable, sweep_table

__all__ = [
    "DRAW",
    "SAMPLES",
    "Audit",
    "Diff",
    "MarkedAudit",
    "MarkedRule",
    "NearMethod",
    "RuleAudit",
    "Share",
    "Survey",
    "SweepRequest",
    "Swept",
    "SweptSide",
    "SweptTable",
    "audit",
    "by_batch",
    "count",
    "diff",
    "examples",
    "marked",
    "near_duplicates",
    "survey",
    "sweep",
    "sweep_table",
]
