"""What must not be told: passwords, keys and signatures in whatever is printed, logged or handed on.

A URL in a table is data and stays as it is. All that speaks of it (errors, logs, manifests, receipts, pages) masks the
user and password in it, the parameters that sign it, and settings whose names say that they are secret. Every pattern
here takes time in proportion to the text, since texts are hostile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

MASK = "***"

_SIGNING = (
    r"X[-_]Amz[-_][\w-]+|X[-_]Goog[-_][\w-]+|X[-_]Oss[-_][\w-]+|q-sign[\w-]*|Signature|sig|hmac|hdnea|hdnts|hdntl|"
    r"GoogleAccessId|AWSAccessKeyId|OSSAccessKeyId"
)
_NAMED = (
    r"access[-_]?token|auth[-_]?token|id[-_]?token|refresh[-_]?token|security[-_]?token|session[-_]?token|token|jwt|"
    r"api[-_]?key|subscription[-_]?key|access[-_]?key(?:[-_]?id)?|secret[-_]?key|secret[-_]?access[-_]?key|key|auth|"
    r"authorization|credentials?|password|passwd|passphrase|pwd|pass|client[-_]?secret|secret|key[-_]?pair[-_]?id"
)
_BESIDE = r"Expires|Policy|q-[\w-]+|se|sp|st|sr|sv|ss|srt|spr|sip|ske|skt|sks|skv|skoid|sktid|sdd|rscd|rsct"
"""What belongs to a signature, and is a parameter like any other where there is none."""

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
# memory://user:password@x has its root there, and a proxy may be typed without a scheme.
_PATH_USER = re.compile(r"(?:(?<=[\s/\"'(=])|^)[^\s/?#@:\"'=(]+:[^\s/?#@\"']*@")
# What ends a sentence's part behind a URL is not of its last value.
_PARAMETER = re.compile(r"(?<=[?&;#])([^\s=&;#?\"'<>]{1,80})=([^\s&\"'<>]*?)(?=[:,;]?(?:[\s&\"'<>]|$))")
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
_ASSIGNED = re.compile(
    r"(?<![\w.-])((?:--[\w-]+=)?)([\w.-]++)(=|[\"']\s{0,4}[:=]\s{0,4}(?=[\"']))"
    r"(\"[^\"]*+\"|'[^']*+'|[^\s\"'&]*[^\s\"'&:,;])"
)
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
    return _ASSIGNED.sub(_masked_setting, text)


def mask_url(url: str) -> str:
    """Return a URL as it may be shown: without user and password, and without the values of what signs it."""
    url = _USER.sub(_masked_user, url)
    if "=" in url:
        names = _SIGNED if any(_SIGNATURE.fullmatch(unquote(m[1])) for m in _PARAMETER.finditer(url)) else _SECRET
        url = _PARAMETER.sub(lambda m: f"{m[1]}={MASK}" if names.fullmatch(unquote(m[1])) else m[0], url)
    if "%" in url:
        url = _ENCODED_USER.sub(rf"\1{MASK}%40", url)
        url = _ENCODED_PARAMETER.sub(lambda m: f"{m[1]}{m[2]}{m[3]}{MASK}" if _signs(m[2]) else m[0], url)
    return url


def mask_command(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as they may be logged: a secret setting's value may have spaces in it."""
    found = []
    for word in words:
        option = _OPTION.fullmatch(word)
        if option is not None and secret(option[2]):
            found.append(f"{option[1]}{option[2]}={MASK}")
        else:
            found.append(mask(word))
    return found


def strip(url: str) -> str:
    """Return a URL without user, password and what signs it; all else stays to the byte."""
    front, hash_, fragment = _USER.sub("", url).partition("#")
    front, mark, query = front.partition("?")
    url = front + _left(mark, query) + _left(hash_, fragment)
    if "%" in url:
        url = _ENCODED_PARAMETER.sub(
            lambda m: _kept_mark(m[1]) if _signs(m[2]) else m[0], _ENCODED_USER.sub(r"\1", url)
        )
    return url


def _left(mark: str, query: str) -> str:
    """Return a query or a fragment, with its mark, without the parameters that go."""
    parameters = query.split("&")
    named = [unquote(each.partition("=")[0]) for each in parameters]
    names = _SIGNED if any(map(_SIGNATURE.fullmatch, named)) else _SECRET
    left = "&".join(each for each, name in zip(parameters, named, strict=True) if not names.fullmatch(name))
    return f"{mark}{left}" if left or not query else ""


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


def _masked_setting(match: re.Match[str]) -> str:
    option, name, equals, value = match.groups()
    quote = value[0] if value[0] in "\"'" else ""
    return f"{option}{name}{equals}{quote}{MASK}{quote}" if secret(name) else match[0]
