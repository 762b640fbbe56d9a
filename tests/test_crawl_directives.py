"""What a page asks of robots, as the column `robots` has it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.common.opt_outs import DIRECTIVES, FOR_US
from align_data.fetching.opt_outs import robots_tag
from align_data.sources.crawl.pages.directives import MAX_DIRECTIVE, MAX_DIRECTIVES, robots_text


@pytest.mark.parametrize(
    ("headers", "metas", "text"),
    [
        ([], [], ""),
        ([], [("description", "noai"), ("robots", None), (None, "noai"), ("robots", " , ")], ""),
        (["NoAI, NoImageAI"], [], "noai, noimageai"),
        ([], [("ROBOTS", "INDEX,FOLLOW")], "index, follow"),
        (["noai", "noindex"], [("robots", "noai,noarchive"), ("robots", "noindex")], "noai, noindex, noarchive"),
        (["googlebot: noindex, nofollow"], [], "googlebot: noindex, googlebot: nofollow"),
        (["googlebot: noindex", "noai"], [], "googlebot: noindex, noai"),
        (["noai, otherbot/2.1: none, googlebot:, nofollow"], [], "noai, otherbot/2.1: none, googlebot: nofollow"),
        (["*: noai"], [("align-data", "noai")], "*: noai, align-data: noai"),
        ([], [("googlebot", "noindex, nofollow"), ("CCBot", "nofollow")], "googlebot: noindex, googlebot: nofollow, ccbot: nofollow"),
        ([], [("googlebot-news", "noindex"), ("bingbot", "noai"), ("bottom", "noai")], "googlebot-news: noindex, bingbot: noai"),
        (["max-snippet:20, unavailable_after: 25 Jun 2030 15:00:00 PST"], [], "max-snippet: 20, unavailable_after: 25 jun 2030 15:00:00 pst"),
        ([], [("robots", "max-image-preview:large ,max-snippet : -1")], "max-image-preview: large, max-snippet: -1"),
        ([], [("robots", "noai noimageai\u00a0\n noindex")], "noai, noimageai, noindex"),
        (["no\x00ai", "x" * (MAX_DIRECTIVE + 1)], [("robots", "é\ud800")], "noai, é\ufffd"),
    ],
)  # fmt: skip
def test_the_text_of_directives(headers, metas, text):
    assert robots_text(headers, metas) == text


def test_of_too_many_directives_those_that_ask_not_to_be_used_are_kept():
    many = ",".join(f"word{number}" for number in range(10**5))
    text = robots_text([many], [("robots", f"{many},noai")])
    assert text.split(", ")[:2] == ["noai", "word0"]
    assert len(text.split(", ")) == MAX_DIRECTIVES


AGENTS = ["", "", "googlebot:", "robots: ", "*:", "align-data/1.0 : ", "max-snippet:", "noai: "]
WORDS = st.tuples(st.sampled_from(AGENTS), st.sampled_from([*DIRECTIVES, "index", "", "20", "NOAI"])).map("".join)
HEADERS = st.lists(st.lists(WORDS, max_size=4).map(",".join), max_size=3)


@given(HEADERS)
def test_each_part_of_the_text_says_alone_whether_it_asks_us(headers):
    asks = [
        re.fullmatch(rf"(?:({'|'.join(map(re.escape, FOR_US))})(?:/[^:]*)?: )?({'|'.join(DIRECTIVES)})(?:: .*)?", part)
        for part in robots_text(headers, []).split(", ")
    ]
    assert any(asks) == (robots_tag(headers) is not None)
