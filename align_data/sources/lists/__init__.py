"""What people have: lists of URLs and alt-texts in their formats, found, understood and read row by row."""

from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.inputs import Source, find
from align_data.sources.lists.reader import Unit, read, units

__all__ = ["Choice", "Reading", "Source", "Unit", "find", "read", "units"]
