"""What if: several thresholds of a ledger moved together, rules taken out or put back, counted in memory."""

from align_data.stages.audit.what_if.counting import WhatIf
from align_data.stages.audit.what_if.moved import MovedPool, RuleMoved

__all__ = ["MovedPool", "RuleMoved", "WhatIf"]
