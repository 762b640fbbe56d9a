"""English words that hold a sentence together, by their classes: what `stop_words` counts."""

from __future__ import annotations

_CLASSES = {
    "articles and determiners": """
        a an the this that these those each every either neither another any some no all both half such many much most
        own other others one ones what whatever which whichever whose
    """,
    "pronouns": """
        i me my mine myself we us our ours ourselves you your yours yourself yourselves thou thy he him his himself she
        her hers herself s/he it its itself they them their theirs themselves who whoever whom whomever self oneself
        somebody someone something anybody anyone anything nobody none nothing everybody everyone everything
    """,
    "prepositions": """
        aboard about above according across after against along alongside amid amidst among amongst around as aside at
        atop away back before behind below beneath beside besides between beyond by circa concerning despite down due
        during except for forth from in include including inside instead into like minus near nearby next
        notwithstanding of off on onboard onto opposite out outside over past per plus prior regarding regardless round
        save since than through throughout thru til till to together toward towards under underneath unlike until unto
        up upon versus via vs with within without w/o w/out worth
    """,
    "conjunctions": """
        and and/or or nor but yet so if unless because bc b/c although though tho while whilst whereas whether when
        whenever where wherever how however once lest albeit
    """,
    "auxiliaries and modals": """
        am is are was were be been being do does did have has had having will would shall should can could may might
        must ought get gets getting got
    """,
    "contractions": """
        i'm i'd i'll i've it's he's she's that's there's who's what's let's you're we're they're you'll we'll they'll
        you've we've they've cannot can't couldn't isn't aren't wasn't weren't don't doesn't didn't haven't hasn't
        hadn't won't wouldn't shouldn't
    """,
    "adverbs that go with these": """
        ago ahead else even ever not only quite rather then there too why
    """,
}

STOP_WORDS = tuple(dict.fromkeys(" ".join(_CLASSES.values()).split()))
"""In lower case."""
