"""Everything that has ever made two text pipelines disagree."""

# Assigned in Unicode 14, which Python 3.11 knows.
HOSTILE = (
    "abcXYZ019 .,;:/_'’‐‑-\"()"
    "\0\x01\x07\x08\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x7f\x85\xa0\xad"
    "\u2002\u2003\u2028\u2029\u200b\u200c\u200d\u200e\u202e\u2060\ufeff\ufe0f\u3000"
    "\u0301\u0308\u0323\u0345\u0e31\u0e48\u094d\u20e3"
    "éÉßẞİıſKÅΣσςﬁﬀǅǆ½²Ⅷⅷ①٣۳३๓"
    "日本語漢々〇〆ひらがなカタカナーｰﾊﾟภาไทยລາວខ្មែរမြန်မာ한국어"
    "абвЖעבריתعربىहिन्दीελληνικά"
    "😀👍🏽👨👩👧🇩🇪❤1️⃣"
)
