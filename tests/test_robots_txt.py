"""robots.txt by the rules of RFC 9309 and of draft-ietf-aipref-attach, as tables, and against a reader of another make."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from align_data.fetching.robots_txt import MAX_ROBOTS, RobotsRules, own_lines


def rules(text: str | bytes) -> RobotsRules:
    return RobotsRules(own_lines(text if isinstance(text, bytes) else text.encode()))


# Text, and the paths that it allows and disallows.
ACCESS: dict[str, tuple[str | bytes, list[str], list[str]]] = {
    "2.2.1 no group, no rules": ("User-agent: other\nDisallow: /\n", ["/", "/x"], []),
    "2.2.1 a product in any letters": ("USER-AGENT: Align-DATA\nDISALLOW: /x\n", ["/y", "/X"], ["/x", "/xy"]),
    "2.2.1 its own group, not that of everyone": (
        "User-agent: *\nDisallow: /\nUser-agent: align-data\nDisallow: /x\n", ["/y"], ["/x"],
    ),
    "2.2.1 everyone's, where none is its own": ("User-agent: other\nAllow: /\nUser-agent: *\nDisallow: /\n", [], ["/"]),
    "2.2.1 groups of one product are one": (
        "User-agent: align-data\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: align-data\nDisallow: /b\n",
        ["/c"], ["/a", "/b"],
    ),
    "2.2.1 groups of everyone are one": ("User-agent: *\nDisallow: /a\nUser-agent: *\nDisallow: /b", ["/"], ["/a", "/b"]),
    "2.2.1 products of one group": ("User-agent: x\nUser-agent: align-data\nUser-agent: y\nDisallow: /", [], ["/"]),
    "2.2.1 a longer product, and a shorter one": (
        "User-agent: align-data-images\nDisallow: /\nUser-agent: align\nDisallow: /\nUser-agent: data\nDisallow: /", ["/"], [],
    ),
    "2.2.1 a version behind the product": ("User-agent: align-data/1.0\nDisallow: /x", ["/"], ["/x"]),
    "2.2.1 an own group without rules": ("User-agent: *\nDisallow: /\nUser-agent: align-data\nDisallow:\n", ["/", "/x"], []),
    "2.2.1 a group at the end without rules": ("User-agent: *\nDisallow: /x\nUser-agent: align-data", ["/x"], []),
    "2.2.2 the longest match": (
        "User-Agent: *\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n",
        ["/example/page/", "/example/page/x.gif", "/other"], ["/example/page/disallowed.gif"],
    ),
    "2.2.2 the order counts for nothing": ("User-agent: *\nDisallow: /\nAllow: /p\n", ["/p", "/pq"], ["/", "/o"]),
    "2.2.2 of two that are equal, the permission": ("User-agent: *\nDisallow: /p\nAllow: /p\n", ["/p"], []),
    "2.2.2 nothing matches": ("User-agent: *\nDisallow: /p/", ["/", "/p", "/q"], ["/p/"]),
    "2.2.2 large and small letters": ("User-agent: *\nDisallow: /Fish", ["/fish", "/FISH"], ["/Fish", "/Fish.jpg"]),
    "2.2.2 from the first octet": ("User-agent: *\nDisallow: /b", ["/a/b"], ["/b"]),
    "2.2.2 robots.txt itself": ("User-agent: *\nDisallow: /", ["/robots.txt"], ["/robots.txt2", "/robots.txt?x"]),
    "2.2.2 what is not ASCII": (
        "User-agent: *\nDisallow: /foo/bar/ツ\n", ["/foo/bar/"], ["/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84"],
    ),
    "2.2.2 what is not ASCII, escaped": ("User-agent: *\nDisallow: /foo/bar/%E3%83%84", [], ["/foo/bar/%e3%83%84"]),
    "2.2.2 what need not be escaped": ("User-agent: *\nDisallow: /foo/bar/%62%61%7A", [], ["/foo/bar/baz", "/foo/bar/b%61z"]),
    "2.2.2 reserved characters": ("User-agent: *\nDisallow: /a%3Fb\nDisallow: /c?d", ["/a?b", "/c%3Fd"], ["/a%3fb", "/c?d"]),
    "2.2.2 a slash that is escaped": ("User-agent: *\nDisallow: /a%2Fb", ["/a/b"], ["/a%2fb"]),
    "2.2.2 a query": ("User-agent: *\nDisallow: /*?size=", ["/x?s=1"], ["/x?size=9", "/x?a&b?size="]),
    "2.2.3 a comment": ("User-agent: * # all\nDisallow: /x # y\n#Disallow: /\n", ["/", "/y"], ["/x"]),
    "2.2.3 an end": ("User-agent: *\nDisallow: /this/path/exactly$", ["/this/path/exactly/", "/this/path"], ["/this/path/exactly"]),
    "2.2.3 wildcards": ("User-agent: *\nDisallow: /this/*/exactly", ["/this/exactly"], ["/this/a/b/exactly/x", "/this//exactly"]),
    "2.2.3 wildcards and an end": (
        "User-agent: *\nDisallow: /*.gif$\nDisallow: /a*b*b$", ["/x.gif?y", "/x.gif/", "/ab", "/abc"], ["/x.gif", "/.gif", "/abb", "/axbyb"],
    ),
    "2.2.3 wildcards that are escaped": (
        "User-agent: *\nDisallow: /path/file-with-a-%2A.html\nDisallow: /path/foo-%24\n",
        ["/path/file-with-a-x.html", "/path/foo-"], ["/path/file-with-a-*.html", "/path/file-with-a-%2a.html", "/path/foo-$", "/path/foo-%24x"],
    ),
    "2.2.3 a dollar that is not at the end": ("User-agent: *\nDisallow: /a$b", ["/a", "/ab"], ["/a$b", "/a%24bc"]),
    "2.2.3 a longer rule with wildcards": ("User-agent: *\nDisallow: /*.jpg\nAllow: /img/", ["/img"], ["/img/a.jpg", "/a.jpg"]),
    "2.2.3 only a wildcard": ("User-agent: *\nDisallow: *", [], ["/", "/x"]),
    "2.2.4 other records do not end a group": (
        "User-agent: align-data\nSitemap: http://a/\nCrawl-delay: 1\nFoo: bar\nUser-agent: x\nDisallow: /", [], ["/"],
    ),
    "2.2.4 other records between rules": ("User-agent: *\nDisallow: /a\nSitemap: /x\nDisallow: /b", ["/"], ["/a", "/b"]),
    "2.3.1.5 lines that are none": ("hello\nUser-agent: *\n<p>\nDisallow /a\n: /b\nDisallow: /c\n", ["/a", "/b"], ["/c"]),
    "2.2 rules before a group": ("Disallow: /\nUser-agent: *\nDisallow: /x", ["/"], ["/x"]),
    "2.2 blanks": ("  User-agent :\t*  \n\t Disallow\t:\t/x\t \n", ["/"], ["/x"]),
    "2.2 blank lines do not end a group": ("User-agent: *\n\n\nDisallow: /x", ["/"], ["/x"]),
    "2.2 an empty path": ("User-agent: *\nDisallow:\nAllow:\n", ["/", "/x"], []),
    "2.2 a path without its slash": ("User-agent: *\nDisallow: x", ["/x", "/"], []),
    "2.2 ends of lines": (b"User-agent: *\rDisallow: /a\r\nDisallow: /b\n\rDisallow: /c", ["/"], ["/a", "/b", "/c"]),
    "2.2 what ends no line": ("User-agent: *\nDisallow: /a\x0bAllow: /b\nDisallow: /q\x85\u2028Allow: /", ["/a", "/q"], ["/q%C2%85%E2%80%A8Allow:%20/"]),
    "2.3 a byte order mark": (b"\xef\xbb\xbfUser-agent: *\nDisallow: /x", ["/"], ["/x"]),
    "2.3 bytes that are no UTF-8": (b"User-agent: *\nDisallow: /\xff\xfe\nDisallow: /x\0y", ["/", "/x"], ["/%FF%FE", "/x%00y"]),
    "2.3 UTF-16": ("User-agent: *\nDisallow: /".encode("utf-16"), ["/"], []),
    "common spellings": ("Useragent: *\nDissallow: /a\nDisalow: /b\n", ["/"], ["/a", "/b"]),
    "a page of HTML": ("<!DOCTYPE html><html><body>\n<p>User-agent: *</p>\n<p>Disallow: /</p></body></html>", ["/"], []),
    "signs that must be escaped in a URL": ("User-agent: *\nDisallow: /a b{c}|", ["/a"], ["/a%20b%7Bc%7D%7C"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCESS)
def test_what_may_be_requested(case: str) -> None:
    text, allowed, disallowed = ACCESS[case]
    found = rules(text)
    assert [path for path in allowed if found.disallowed(path) is not None] == []
    assert [path for path in disallowed if found.disallowed(path) is None] == []


def test_a_rule_is_quoted() -> None:
    assert rules("user-agent:*\ndisallow:/x/*.jpg$#y").disallowed("/x/a.jpg") == "Disallow: /x/*.jpg$"
    assert len(rules("user-agent:*\ndisallow:/" + "x" * 999).disallowed("/" + "x" * 999) or "") == 200
    usage = rules("User-Agent: *\nContent-Usage: /a train-ai=n;\tx=1\n").refused_usage("/ab")
    assert usage is None  # no white space is allowed before a parameter's name but spaces
    assert (
        rules("User-Agent: *\nContent-Usage:\t/a \t train-ai=n\n").refused_usage("/a")
        == "Content-Usage: /a \t train-ai=n"
    )


def test_of_the_first_500_kib_every_rule_counts_and_none_that_is_cut() -> None:
    head = b"User-agent: *\n"
    rule = b"Disallow: /last\n"
    filler = b"#" * (MAX_ROBOTS - len(head) - len(rule) - 1) + b"\n"
    assert rules(head + filler + rule).disallowed("/last")
    assert rules(head + filler + rule + b"Disallow: /\n").disallowed("/") is None
    # 'Disallow: /l' of a rule that goes on would disallow more than the whole.
    assert rules(head + b"#" + filler + rule + b"x").disallowed("/last") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("User-agent: *\nCrawl-delay: 10", 10),
        ("User-agent: *\nCrawl-Delay: 0.5 # s\nDisallow:", 0.5),
        ("User-agent: *\nCrawl-delay: 10\nDisallow:\nUser-agent: align-data\nDisallow: /x", 0),
        (
            "User-agent: *\nCrawl-delay: 10\nUser-agent: align-data\nDisallow: /x",
            10,
        ),  # one group: it is no rule of RFC 9309
        ("User-agent: *\nCrawl-delay: 1\nCrawl-delay: 3\nCrawl-delay: 2", 3),
        ("User-agent: *\nCrawl-delay: 5s", 5),
        ("User-agent: *\nCrawl-delay: -5", 0),
        ("User-agent: *\nCrawl-delay: nan\nCrawl-delay: inf\nCrawl-delay: ٣\nCrawl-delay:", 0),
        ("User-agent: *\nCrawl-delay: " + "9" * 5000, 999999999),
        ("User-agent: other\nCrawl-delay: 5", 0),
        ("Crawl-delay: 5\nUser-agent: *", 0),
    ],
)
def test_crawl_delay(text: str, seconds: float) -> None:
    assert rules(text).delay == seconds


# The example of draft-ietf-aipref-attach, section 3.4, and more of its rules.
EXAMPLE = "User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: / train-ai=n\nContent-Usage: /ai-ok/ train-ai=y\n"


@pytest.mark.parametrize(
    ("text", "refused", "not_refused"),
    [
        (EXAMPLE, ["/test", "/ai-ok"], ["/ai-ok/test"]),
        (EXAMPLE + "\nUser-Agent: align-data\nAllow: /\nContent-Usage: / train-ai=y\n", [], ["/test", "/ai-ok/test"]),
        ("User-agent: *\nContent-Usage: /a train-ai=y\nContent-Usage: /a train-ai=n", ["/a"], ["/"]),
        ("User-agent: *\nContent-Usage: /a search=n\nContent-Usage: / train-ai=n", ["/"], ["/a"]),
        ("User-agent: *\nContent-Usage: /*.jpg$ train-ai=n", ["/x.jpg"], ["/x.jpg?", "/"]),
        ("User-agent: *\nContent-Usage: train-ai=n", ["/", "/x"], []),  # of drafts before the third
        ("User-agent: *\nContent-Usage: /a\nContent-Usage: \nContent-Usage: /b train-ai=no", [], ["/", "/a", "/b"]),
        ("User-agent: *\nDisallow: /x\nContent-Usage: / train-ai=n # all\nAllow: /y", ["/y", "/x"], []),
        ("User-agent: *\nContent-Usage: /ü%20 train-ai=n", ["/%C3%BC%20x"], ["/ü"]),
    ],
)
def test_content_usage(text: str, refused: list[str], not_refused: list[str]) -> None:
    found = rules(text)
    assert [path for path in refused if found.refused_usage(path) is None] == []
    assert [path for path in not_refused if found.refused_usage(path) is not None] == []


def test_a_content_usage_rule_ends_the_list_of_products() -> None:
    """It is a rule, as Allow is: the User-agent behind it begins another group."""
    assert (
        rules("User-agent: align-data\nContent-Usage: / search=n\nUser-agent: x\nDisallow: /").disallowed("/") is None
    )


# Another reader: whole files by regular expressions, and every rule tried.

paths = st.text("ab/*$%é?2Aa", max_size=6).map(lambda path: f"/{path}")
lines = st.tuples(
    st.sampled_from(["User-agent", "Disallow", "Allow", "Sitemap", "disallow ", "Crawl-delay"]),
    st.sampled_from(["*", "align-data", "Align-Data/2", "other", ""]) | paths,
)


def one_spelling(path: str) -> str:
    """Escape all that is not ASCII, and nothing that need not be."""
    path = quote(path, safe="%/*$?")
    return re.sub(
        "%([0-9a-fA-F]{2})", lambda m: c if (c := chr(int(m[1], 16))).isalnum() and c.isascii() else m[0].upper(), path
    )


def oracle(drawn: list[tuple[str, str]], path: str) -> bool:
    groups: list[tuple[list[str], list[tuple[str, str]]]] = []
    for word, value in drawn:
        key = word.strip().lower()
        if key == "user-agent":
            if not groups or groups[-1][1]:
                groups.append(([], []))
            groups[-1][0].append("align-data" if value.lower().startswith("align-data") else value)
        elif key in ("allow", "disallow") and groups:
            groups[-1][1].append((key, value))
    ours = [rule for agents, found in groups if "align-data" in agents for rule in found]
    if not any("align-data" in agents for agents, _ in groups):
        ours = [rule for agents, found in groups if "*" in agents for rule in found]
    url = one_spelling(path).replace("*", "%2A").replace("$", "%24")
    matching = []
    for key, value in ours:
        spelt = one_spelling(value)
        end = "$" if spelt.endswith("$") else ""
        body = spelt.removesuffix("$").replace("$", "%24")
        pattern = ".*".join(re.escape(part) for part in body.split("*"))
        if value and re.match(pattern + end, url):
            matching.append((len(body + end), key == "allow"))
    return max(matching)[1] if matching else True


@given(st.lists(lines, max_size=12), paths)
@example([("User-agent", "*"), ("Disallow", "/a*"), ("Allow", "/aa")], "/aa")
def test_another_reader_comes_to_the_same(drawn: list[tuple[str, str]], path: str) -> None:
    text = "\r\n".join(f"{key}: {value}" for key, value in [("User-agent", "*"), *drawn])
    assert (rules(text).disallowed(path) is None) == oracle([("User-agent", "*"), *drawn], path)


@given(
    st.binary(max_size=300) | st.text("user-agent: *\r\ndisallow: /%$\0é", max_size=200).map(str.encode),
    st.text(max_size=20),
)
def test_any_bytes_are_rules_and_kept_lines_say_the_same(content: bytes, path: str) -> None:
    found = rules(b"User-agent: *\n" + content)
    again = RobotsRules(found.lines)
    assert found.disallowed(f"/{path}") == again.disallowed(f"/{path}")
    assert found.delay == again.delay
    found.refused_usage(f"/{path}")


def test_rules_made_to_be_slow_cost_little() -> None:
    def many(line: bytes, number: int = 60000) -> RobotsRules:
        return rules(b"User-agent: *\n" + b"".join(line % each for each in range(number)))

    url: Any = "/" + "z" * 60000
    assert (
        many(b"Disallow: *%x\n").disallowed(url)
        == "Disallow: more rules with * than a URL of this length can be judged by"
    )
    assert many(b"Disallow: *%x\n").disallowed("/zz") is None
    assert many(b"Disallow: *%d$\n", 20000).disallowed("/19999") == "Disallow: *19999$"
    assert many(b"Allow: *$ #%d\n").disallowed(url) is None
    assert rules(b"User-agent: *\nDisallow: /" + b"*a" * 250_000).disallowed("/" + "a" * 60000) is None
