"""Vega, Vega-Lite and Vega-Embed as one script: another process puts it together, while this one counts.

It takes longer than a second of a core, and where it is done no other thread of Python goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import vl_convert

_CODE = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"


@cache
def begin() -> subprocess.Popen[bytes]:
    """Start to make the script: whoever will ask for it calls this as early as it can."""
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(  # noqa: S603 - this Python
        [sys.executable, "-P", "-c", _CODE],  # -P: no module is taken from the folder that one happens to be in
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


@cache
def script() -> str:
    """Return the script; what it has of HTML's signs ends no element."""
    process = begin()
    content, _ = process.communicate()
    # Where the process could not, what is wrong shows here.
    bundle = vl_convert.javascript_bundle() if process.returncode else content.decode()  # type: ignore[call-arg]
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
