"""Sphinx's settings: `make docs` builds the site from this folder, and neither that nor reading it needs a network."""

from align_data import __version__

project = "align-data"
copyright = "the authors of align-data, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

nitpicky = True
# Types in signatures are shown; few of them have a page here, and those of other packages are on the network.
nitpick_ignore_regex = [("py:class", r".*")]
default_role = "literal"
smartquotes = False
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"align-data {version}"
html_copy_source = False
