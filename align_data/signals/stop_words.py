"""English words that hold a sentence together, by their classes: what `stop_words` counts."""

from __future__ import annotations

_CLASSES = {
    "articles and determiners": """
        a an the this that these those each every either neither another any some no all both half such many much more
        most few fewer little less least several enough own same other others one ones what whatever which whichever
        whose
    """,
    "pronouns": """
        i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
        herself it its itself they them their theirs themselves who whoever whom whomever somebody someone something
        anybody anyone anything nobody none nothing everybody everyone everything oneself
    """,
    "prepositions": """
        aboard about above across after against along alongside amid amidst among amongst around as aside at atop away
        back before behind below beneath beside besides between beyond by circa concerning despite down during except
        for from in inside into like minus near nearby next of off on onboard onto opposite out outside over past per
        plus regarding round since than through throughout till to together toward towards under underneath unlike until
        up upon versus via with within without w/o vs
    """,
    "conjunctions": """
        and and/or or nor but yet so if unless because although though while whilst whereas whether when whenever where
        wherever how however once lest albeit
    """,
    "auxiliaries and modals": """
        am is are was were be been being do does did doing done have has had having will would shall should can could
        may might must ought cannot get gets getting got
    """,
    "contractions": """
        i'm i'd i'll i've it's he's she's that's there's who's what's let's you're we're they're you'll we'll they'll
        you've we've they've isn't aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't won't wouldn't
        shouldn't can't couldn't
    """,
    "adverbs of place, time and degree that go with these": """
        here there then now not only also too very just even ever never quite rather again ago ahead else instead thus
        why
    """,
}

STOP_WORDS = tuple(dict.fromkeys(" ".join(_CLASSES.values()).split()))
"""In lower case."""
