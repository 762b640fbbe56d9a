"""The script that draws the explorer's charts is the library's, whoever puts it together."""

from __future__ import annotations

import re

import pytest

vl_convert = pytest.importorskip("vl_convert", reason="needs the extra view")

from align_data.explorer import vega_script  # noqa: E402


@pytest.mark.parametrize(
    "code", ["import vl_convert; print(vl_convert.javascript_bundle(), end='')", "raise SystemExit(1)"]
)
def test_the_script_is_the_library_s_whoever_makes_it(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vega_script, "_CODE", code)
    monkeypatch.setattr(vega_script, "begin", vega_script.begin.__wrapped__)
    script = vega_script.script.__wrapped__()
    assert script.replace("<\\/script", "</script") == vl_convert.javascript_bundle()
    assert not re.search("</script|<!--", script)
