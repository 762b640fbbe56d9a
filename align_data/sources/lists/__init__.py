"""What people have: lists of URLs and alt-texts in their formats, found, understood and read row by row."""

from align_data.sources.lists.columns import Choice
from align_data.sources.lists.find import Source, find
from align_data.sources.lists.read import Unit, read, units
from align_data.sources.lists.text import Reading

__all__ = ["Choice", "Reading", "Source", "Unit", "find", "read", "units"]
