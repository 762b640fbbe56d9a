"""A page's charset: who is believed, and what cannot be decoded."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webencodings import labels, lookup

from align_data.sources.crawl.pages.charset import PRESCANNED, decoded

META = '<meta charset="{}">'
TYPE = "<meta http-equiv=Content-Type content='text/html; charset={}'>"


@pytest.mark.parametrize(
    ("body", "content_types", "charset"),
    [
        # A byte order mark is believed before all.
        (codecs.BOM_UTF8 + b"\xff", ["text/html; charset=gbk"], "utf-8"),
        (codecs.BOM_UTF16_LE + "é".encode("utf-16le"), ["text/html; charset=utf-8"], "utf-16le"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16be"), [], "utf-16be"),
        # What is valid UTF-8 is that.
        ("é".encode(), ["text/html; charset=iso-8859-1"], "utf-8"),
        ((META.format("gbk") + "é").encode(), [], "utf-8"),
        (b"x", ["text/html; charset=utf-16"], "utf-8"),
        (b"x", ["text/html; charset=iso-2022-jp"], "utf-8"),
        (b"", [], "utf-8"),
        # But where a header says UTF-16 or ISO-2022-JP, and the page has what only these have.
        ("<p>x".encode("utf-16le"), ["text/html; charset=UTF-16"], "utf-16le"),
        ("日本".encode("iso-2022-jp"), ["text/html; charset=iso-2022-jp"], "iso-2022-jp"),
        (b"a\0b", ["text/html; charset=big5"], "utf-8"),
        # The header goes before the page.
        (b"\xe9", ["text/html; charset=ISO-8859-1"], "windows-1252"),
        (b"\xe9" + META.format("gbk").encode(), ['text/html;Charset = "koi8-r"; x=y'], "koi8-r"),
        (b"\xe9", ["text/html", "text/html; charset='sjis'"], "shift_jis"),
        (b"\xe9", ["text/html; charset=utf8"], "utf-8"),
        # An unknown name is none.
        (b"\xe9" + META.format("euc-kr").encode(), ["text/html; charset=klingon"], "euc-kr"),
        (b"\xe9" + META.format("none").encode() + META.format("x-gbk").encode(), ["text/html; charset="], "gbk"),
        (b"\xe9", ["charset=\x00", "charset=é", "charset=utf-7", f"charset={'x' * 10**5}", f"charset={' ' * 10**5}"], "windows-1252"),
        (b"\xe9", ["text/html; charset=iso-2022-kr"], "windows-1252"),
        (b"\xe9", [], "windows-1252"),
        # In the page, as browsers look for it.
        (TYPE.format("windows-1251").encode() + b"\xe9", [], "windows-1251"),
        (b"<META CONTENT='text/html; CHARSET=cp1251' HTTP-EQUIV=content-type>\xe9", [], "windows-1251"),
        (b"<meta content='charset=gbk' name=description><meta/charset=big5>\xe9", [], "big5"),
        (b"<!-- <meta charset=gbk> --><meta data-charset=gbk><metadata charset=gbk><meta charset=big5 charset=gbk>\xe9", [], "big5"),
        (b"<meta x='>' charset=big5>\xe9", [], "big5"),
        (META.format("utf-16le").encode() + b"\xe9", [], "utf-8"),
        (META.format("x-user-defined").encode() + b"\xe9", [], "windows-1252"),
        (b"\n<?xml version='1.0' encoding='koi8-u'?>\xe9", [], "koi8-u"),
        (b"<?xml version='1.0' encoding='koi8-u'?><meta charset=big5>\xe9", [], "big5"),
        (b" " * (PRESCANNED - 18) + b"<meta charset=gbk>\xe9", [], "gbk"),
        (b" " * (PRESCANNED - 17) + b"<meta charset=gbk>\xe9", [], "windows-1252"),
    ],
)  # fmt: skip
def test_whom_to_believe(body, content_types, charset):
    assert decoded(body, content_types).charset == charset


@pytest.mark.parametrize(("label", "name"), sorted(labels.LABELS.items()))
def test_labels_are_those_of_the_standard(label, name):
    charset = decoded(b"\xe9", [f"text/html; charset={label.upper()}"]).charset
    assert charset == ("windows-1252" if name == "replacement" else name)


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("windows-1252", "“é” € \u0192"),
        ("windows-1251", "Привет"),
        ("koi8-r", "Привет"),
        ("iso-8859-2", "Zażółć"),
        ("windows-1256", "مرحبا"),
        ("windows-874", "สวัสดี"),
        ("gbk", "你好，世界"),
        ("gb18030", "你好𠀀"),
        ("big5", "你好"),
        ("shift_jis", "日本語①"),
        ("euc-jp", "日本語"),
        ("euc-kr", "안녕 똠"),
        ("utf-16le", "é\U0001f600"),
    ],
)
def test_texts_in_their_charsets(charset, text):
    python = {"shift_jis": "cp932", "euc-kr": "cp949", "windows-874": "cp874"}.get(charset, charset)
    text = f"<p>{text}"
    assert decoded(text.encode(python), [f"text/html; charset={charset}"]) == (text, charset)


@pytest.mark.parametrize(
    ("body", "label", "text"),
    [
        (b"a\xffb\xe2\x82", "utf-8", "a\ufffdb\ufffd"),
        (codecs.BOM_UTF8 + b"\xed\xa0\x80x", "", "\ufffd\ufffd\ufffdx"),
        (codecs.BOM_UTF16_LE + b"a\0\x00\xd8x", "", "a\ufffd"),
        (b"\x81\x20\xff", "shift_jis", "\ufffd \ufffd"),
        (b"\xff\xa4", "gbk", "\ufffd\ufffd"),
        (b"\x80\x81\xff", "latin1", "€\x81ÿ"),
    ],
)
def test_what_cannot_be_decoded_is_replaced(body, label, text):
    assert decoded(body, [f"charset={label}"]).text == text


@given(st.binary(max_size=40), st.sampled_from(sorted(set(labels.LABELS.values()))))
def test_any_bytes_are_text(body, name):
    text, charset = decoded(b"\xff" + body, [f"text/html; charset={name}"])
    assert not any("\ud800" <= char <= "\udfff" for char in text)
    assert lookup(charset) is not None
