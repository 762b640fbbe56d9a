"""The uids of the exported pairs and nothing else, as DataComp takes them."""

from __future__ import annotations

from align_data.exports.shard_format import ExportFormat
from align_data.storage import names

FORMAT = ExportFormat("uids", "DataComp's sorted .npy of u8,u8", names.UIDS, ending=".npy")
