"""What people have: lists of URLs and alt-texts in their formats, found, understood and read row by row."""

from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.encodings import Reading
from align_data.sources.lists.input_format import InputFormat, Unit
from align_data.sources.lists.inputs import contents_of, find
from align_data.sources.lists.reader import read, units
from align_data.sources.lists.registry import FORMATS
from align_data.sources.lists.source import Source

__all__ = ["FORMATS", "Choice", "InputFormat", "Reading", "Source", "Unit", "contents_of", "find", "read", "units"]
