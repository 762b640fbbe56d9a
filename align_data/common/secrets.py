"""What must not be told: passwords, keys and signatures in whatever is printed, logged or handed on.

A URL in a table is data and stays as it is. All that speaks of it (errors, logs, manifests, receipts, pages) masks the
user and password in it, the parameters that sign it, and settings whose names say that they are secret. Every pattern
here takes time in proportion to the text, since texts are hostile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

MASK = "***"

_SIGNING = (
    r"X[-_]Amz[-_][\w-]+|X[-_]Goog[-_][\w-]+|X[-_]Oss[-_][\w-]+|q-sign[\w-]*|Signature|sig|hmac|hdnea|hdnts|hdntl|"
    r"GoogleAccessId|AWSAccessKeyId|OSSAccessKeyId"
)
_NAMED = (
    r"access[-_]?token|auth[-_]?token|id[-_]?token|refresh[-_]?token|security[-_]?token|session[-_]?token|token|jwt|"
    r"api[-_]?key|subscription[-_]?key|access[-_]?key(?:[-_]?id)?|secret[-_]?key|secret[-_]?access[-_]?key|key|auth|"
    r"authorization|credentials?|password|passwd|passphrase|pwd|pass|client[-_]?secret|secret|key[-_]?pair[-_]?id|"
    r"auth[-_]?key|sas|session[-_]?id|phpsessid|jsessionid|"
    # As clouds other than the first call them: X-Cos-Security-Token, oauth_signature, Minio-Signature, wsSecret.
    r"[\w.-]{1,40}?(?:token|secret|signature|password|authorization|credential|[._-]api[-_]?key|subscription[-_]?key)_*"
)
_BESIDE = r"Expires|Policy|q-[\w-]+|se|sp|st|sr|sv|ss|srt|spr|sip|ske|skt|sks|skv|skoid|sktid|sdd|rscd|rsct"
"""Parameters that belong to a signature, and are ordinary ones in a URL without a signature."""

_SECRET = re.compile(rf"(?:{_SIGNING}|{_NAMED})", re.IGNORECASE)
_SIGNATURE = re.compile(_SIGNING, re.IGNORECASE)
_SIGNED = re.compile(rf"(?:{_SIGNING}|{_NAMED}|{_BESIDE})", re.IGNORECASE)

_ENCODED = "%(?:25)*"
"""The per cent sign of an encoded character, however often it was encoded: a URL can be the parameter of another."""
# In each a password may have a '/' in it, if what follows its colon is then no port. They are bounded where they may
# run on and meet no '@'.
_USER = re.compile(r"(?<=://)(?:[^\s/?#@:\[\"'<>]+:(?!\d*(?:[/?#\s\"'<>]|$))[^\s@\"'<>]{0,200}@)?(?:[^\s/?#@\"'<>]*@)*")
_ENCODED_USER = re.compile(
    rf"({_ENCODED}3A(?:{_ENCODED}2F){{2}})(?:(?!{_ENCODED}(?:2F|3F|23|26))[^\s/?#&@\"'<>]){{1,200}}{_ENCODED}40",
    re.IGNORECASE,
)
# memory://user:password@x has its root there, and a proxy may be typed without a scheme. open_clip:ARCHITECTURE@FILE
# is a model.
_PATH_USER = re.compile(r"(?:(?<=[\s/\"'(=])|^)(?!open_clip:[\w.-]{0,80}@)[^\s/?#@:\"'=(]+:[^\s/?#@\"']*@")
# The name alone, since what follows another parameter's value may be behind a ';' or a '?' in it.
_PARAMETER = re.compile(r"(?<=[?&;#])([^\s=&;#?\"'<>]{1,80})=")
# What ends a sentence's part behind a URL is not of its last value.
_VALUE = re.compile(r"[^\s&\"'<>]*?(?=[:,;]?(?:[\s&\"'<>]|$))")
_ENCODED_PARAMETER = re.compile(
    rf"({_ENCODED}(?:3F|26|3B))((?:[\w.~-]|{_ENCODED}(?:2D|5F)){{1,80}})({_ENCODED}3D)"
    rf"((?:(?!{_ENCODED}(?:26|23))[^\s&\"'<>])*)",
    re.IGNORECASE,
)
# Spark hides by the first of these words what its own log shows; the rest is what settings for clouds are called.
_SETTING = re.compile(
    r"secret|passw|passphrase|pwd|credential|token(?!iz|s\b)|access[._-]?key|account[._-]?key|api[._-]?key|"
    r"private[._-]?key|\bsas\b|signature|authorization|cookie",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(?<![\w.-])([\w.-]++)(?:=|[\"']\s{0,4}[:=]\s{0,4}(?=[\"']))")
_ASSIGNED_VALUE = re.compile(r"\"[^\"]*+\"|'[^']*+'|[^\s\"'&]*?(?=[:,;]?(?:[\s\"'&]|$))")
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token|x-amz-security-token)"
    r"([\"']?\s{0,4}[:=]\s{0,4}(?:b?[\"'])?)[^\n\"']++",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s{1,4})[\w.~+/=-]{8,}", re.IGNORECASE)
_OPTION = re.compile(r"((?:--[\w-]+=)?)([^=\s]+)=(.*)", re.DOTALL)


def secret(setting: str) -> bool:
    """Tell whether the name of a setting, such as fs.s3a.secret.key, says that its value is secret."""
    return _SETTING.search(setting) is not None


def mask(text: str) -> str:
    """Return a text for people, with whatever in it is secret replaced by ***: in URLs, headers and settings."""
    text = _PATH_USER.sub(f"{MASK}@", mask_url(text))
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    return _covered(text, _ASSIGNED, _ASSIGNED_VALUE, secret)


def mask_url(url: str) -> str:
    """Return a URL as it may be shown: without user and password, and without the values of what signs it."""
    url = _USER.sub(_masked_user, url)
    if "=" in url:
        names = _SIGNED if any(_SIGNATURE.fullmatch(unquote(m[1])) for m in _PARAMETER.finditer(url)) else _SECRET
        url = _covered(url, _PARAMETER, _VALUE, lambda name: names.fullmatch(unquote(name)) is not None)
    if "%" in url:
        url = _ENCODED_USER.sub(rf"\1{MASK}%40", url)
        url = _ENCODED_PARAMETER.sub(lambda m: f"{m[1]}{m[2]}{m[3]}{MASK}" if _signs(m[2]) else m[0], url)
    return url


def mask_command(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as they may be logged: a secret setting's value may have spaces in it."""
    masked = []
    for word in words:
        option = _OPTION.fullmatch(word)
        if option is not None and secret(option[2]):
            masked.append(f"{option[1]}{mask(option[2])}={MASK}")  # a URL that is signed is such a name too
        else:
            masked.append(mask(word))
    return masked


def strip(url: str) -> str:
    """Return a URL without user, password and what signs it; all else stays to the byte."""
    front, hash_, fragment = _USER.sub("", url).partition("#")
    front, mark, query = front.partition("?")
    url = front + _without_secrets(mark, query) + _without_secrets(hash_, fragment)
    if "%" in url:
        url = _ENCODED_PARAMETER.sub(
            lambda m: _kept_mark(m[1]) if _signs(m[2]) else m[0], _ENCODED_USER.sub(r"\1", url)
        )
    return url


def _without_secrets(mark: str, query: str) -> str:
    """Return a query or a fragment, with its mark, without the parameters that go."""
    # A parameter can be behind a ';' or a '?' too; what a ';' divides stays together unless a name there is secret.
    named = [unquote(parameter[1]) for parameter in _PARAMETER.finditer(f"&{query}")]
    names = _SIGNED if any(map(_SIGNATURE.fullmatch, named)) else _SECRET
    remaining = "&".join(
        part for parameter in query.split("&") if (part := _before_secret(parameter, names)) or not parameter
    )
    return f"{mark}{remaining}" if remaining or not query else ""


def _before_secret(parameter: str, names: re.Pattern[str]) -> str:
    """Return what stands in a parameter before its first secret name."""
    for match in _PARAMETER.finditer(f"&{parameter}"):
        if names.fullmatch(unquote(match[1])):
            return parameter[: max(0, match.start() - 2)].removesuffix("amp")
    return parameter


def _kept_mark(mark: str) -> str:
    """Return what is left of the '?' or '&' before a parameter that goes."""
    return mark if mark.upper().endswith("3F") else ""


def _masked_user(match: re.Match[str]) -> str:
    return f"{MASK}@" if match[0] else ""


def _signs(name: str) -> bool:
    """Tell whether a parameter of a URL that is another's parameter goes; there nothing tells what it stands beside."""
    while name != (name := unquote(name)):
        pass
    return _SIGNED.fullmatch(name) is not None


def _covered(text: str, names: re.Pattern[str], values: re.Pattern[str], hides: Callable[[str], bool]) -> str:
    """Return a text with the values behind secret names replaced by ***, in their quotation marks."""
    pieces, at = [], 0
    for name in names.finditer(text):
        value = values.match(text, name.end()) if name.start() >= at and hides(name[1]) else None
        if value is None:
            continue
        quote = value[0][:1] if value[0][:1] in ("'", '"') else ""
        pieces.append(f"{text[at : name.end()]}{quote}{MASK}{quote}")
        at = value.end()
    return "".join(pieces) + text[at:]
