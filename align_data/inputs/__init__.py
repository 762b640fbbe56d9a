"""What people have: lists of URLs and alt-texts in their formats, found, understood and read row by row."""

from align_data.inputs.columns import Choice
from align_data.inputs.find import Source, find
from align_data.inputs.read import Unit, read, units
from align_data.inputs.text import Reading

__all__ = ["Choice", "Reading", "Source", "Unit", "find", "read", "units"]
