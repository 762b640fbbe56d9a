"""Secrets: what is masked, what stays, and what a stripped URL is."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from conftest import SPARK
from hypothesis import given
from hypothesis import strategies as st

from align_data.common.secrets import MASK, mask, mask_command, mask_url, secret, strip
from align_data.engines.java import in_a_file
from align_data.engines.spark import SparkEngine

KEY = "s3cr3tValue9"

PLANTED = [
    f"https://user:{KEY}@host/x",
    f"https://{KEY}@host/x",
    f"cannot read s3://AKIA:a/{KEY}+x@bucket/key: it is not there",
    f"ftp://user:a@{KEY}@host/",
    f"simplecache::s3://user:{KEY}@bucket/x",
    f"memory:///user:{KEY}@x/pairs",
    f"'/user:{KEY}@x/rejected'",
    f"user:{KEY}@host:3128 is not a proxy",
    f"https://proxy/https://user:{KEY}@host/x",
    f"https://host/x?X-Amz-Algorithm=A&X-Amz-Signature={KEY}&w=3",
    f"https://host/x?X-Amz-Credential={KEY}%2F2026",
    f"https://host/x?x-amz-security-token={KEY}",
    f"https://host/x?X%2DAmz%2DSignature={KEY}",
    f"https://host/x?GoogleAccessId={KEY}",
    f"https://host/x?X-Goog-Signature={KEY}",
    f"https://host/x?AWSAccessKeyId={KEY}&Expires=1&Signature=1",
    f"https://host/x?Expires={KEY}&Signature=1",
    f"https://host/x?sv=2020&se={KEY}&sp=r&sig=a%3D",
    f"https://host/x?sv=2020&sig={KEY}%3D",
    f"https://host/x?a=1&token=a%26{KEY}&b=1",
    f"https://host/x#access_token={KEY}",
    f"https://host/x?api_key={KEY}",
    f"https://host/x?key={KEY}",
    f"https://host/x?password={KEY}",
    f"https://proxy/?url=https%3A%2F%2Fhost%2Fx%3Fsig%3D{KEY}%26w%3D1&h=2",
    f"https://proxy/?url=https%253A%252F%252Fhost%252Fx%253Fsig%253D{KEY}%2526w%253D1",
    f"https://proxy/?url=https%3A%2F%2Fuser%3A{KEY}%40host%2Fx",
]
TEXTS = [
    f"Authorization: Bearer {KEY}",
    f"{{'Authorization': 'Bearer {KEY}'}}",
    f"Proxy-Authorization: Basic {KEY}",
    f"the server said: bearer {KEY} is not valid",
    f"spark.hadoop.fs.s3a.secret.key={KEY}",
    f"--spark-conf=spark.ssl.keyPassword={KEY}",
    f"fs.azure.account.key.name.blob.core.windows.net={KEY}==",
    f"{{'secret': '{KEY}', 'user': 'me'}}",
    f'{{"api_key": "a b {KEY}"}}',
]
PLAIN = [
    "https://host:80/x@2x.png",
    "https://[::1]:80/x@y",
    "https://host/@name?a=@b",
    "https://host/x?se=2021&sp=r&Expires=3&w=1",
    "https://host/%2Fphoto%40x?keyword=a&monkey=b&tokens=3",
    "6,345 rows in = 5,949 pairs + 296 merged + 100 rejected (20 url_missing, 80 url_not_http)",
    "align-data filter shapes --recipe align --set n_words.between=2,30 --without nsfw",
    "write to me@example.org",
    "max_tokens=77 tokenizer=words",
    "the bearer of this",
]


PLANTED += [
    f"https://host/x?{name}={KEY}"
    for name in (
        *("oauth_token", "oauth_signature", "auth_key", "sas", "x-api-key", "Ocp-Apim-Subscription-Key", "PHPSESSID"),
        *("x-cos-security-token", "X-Tos-Signature", "Minio-Signature", "wsSecret", "B2Authorization", "access.token"),
        *("a=1;sig", "a=b?sig", "a=b&amp;X-Amz-Signature", "amp;token"),
    )
]
TEXTS += [
    f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY}==",
    f"spark.executor.extraJavaOptions=-Djavax.net.ssl.trustStorePassword={KEY}",
]


@pytest.mark.parametrize("text", [*PLANTED, *TEXTS])
def test_a_secret_is_masked(text: str) -> None:
    assert KEY not in mask(text)
    assert MASK in mask(text)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == mask_url(text) == text


def test_what_stands_around_a_secret_stays() -> None:
    assert mask(f"cannot read https://u:{KEY}@host/a b") == "cannot read https://***@host/a b"
    assert mask_url(f"https://host/a:b@c.jpg?sig={KEY}&w=%2b#top") == "https://host/a:b@c.jpg?sig=***&w=%2b#top"


@pytest.mark.parametrize(
    ("url", "left"),
    [
        (f"https://u:{KEY}@host/x%2b?a=%2B&sig={KEY}&se=3&b#f", "https://host/x%2b?a=%2B&b#f"),
        (f"https://host/x?sig={KEY}", "https://host/x"),
        (f"https://host/x?X-Amz-Date=1&X-Amz-Signature={KEY}#f", "https://host/x#f"),
        ("https://host/x?", "https://host/x?"),
        ("https://host/x?se=1&a=b@c&&", "https://host/x?se=1&a=b@c&&"),
        ("https://host:80/@x", "https://host:80/@x"),
        (f"https://host/x?a=1;b;sig={KEY};c=2&d=3;e", "https://host/x?a=1;b&d=3;e"),
        (f"https://host/x?a=b?sig={KEY}&c", "https://host/x?a=b&c"),
        (
            f"https://proxy/?url=https%3A%2F%2Fu%3A{KEY}%40h%2Fx%3Fsig%3D{KEY}%26w%3D1",
            "https://proxy/?url=https%3A%2F%2Fh%2Fx%3F%26w%3D1",
        ),
    ],
)
def test_a_stripped_url_has_everything_else_to_the_byte(url: str, left: str) -> None:
    assert strip(url) == left
    assert strip(left) == left


@pytest.mark.parametrize("url", [text for text in PLANTED if text.startswith("http")])
def test_no_secret_is_left_in_a_stripped_url(url: str) -> None:
    assert KEY not in strip(url)


@given(st.text("ab:/@?&=#%2F3Dsig .'\"<", max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@given(st.text("ab:/@?&=#%2F3Dsig", max_size=60))
def test_stripping_ends(text: str) -> None:
    assert len(strip(text)) <= len(text)


def test_settings_and_options_of_a_command() -> None:
    words = [
        "fetch",
        "--proxy",
        f"http://u:{KEY}@h:1",
        "--spark-conf",
        f"spark.x.password=a b,'{KEY}\" c",
        f"--spark-conf=a.secret=b {KEY}",
        f"https://u:{KEY}@h/list.csv?X-Amz-Signature={KEY}&X-Amz-Date=2",
        f"--proxy=http://u:{KEY}@h:1/?token={KEY}",
    ]
    assert mask_command(words) == [
        "fetch",
        "--proxy",
        "http://***@h:1",
        "--spark-conf",
        "spark.x.password=***",
        "--spark-conf=a.secret=***",
        "https://***@h/list.csv?X-Amz-Signature=***",
        "--proxy=http://***@h:1/?token=***",
    ]
    assert mask_command(["--set", "n_words.between=2,3", "a b"]) == ["--set", "n_words.between=2,3", "a b"]


@pytest.mark.parametrize(
    "name", ["fs.s3a.access.key", "spark.ssl.keyPassword", "fs.azure.account.key.x", "oauthToken", "a.sas.b", "api-key"]
)
def test_settings_that_are_secret(name: str) -> None:
    assert secret(name)


@pytest.mark.parametrize(
    "name", ["spark.master", "spark.executor.memory", "spark.sql.tokenizer", "max_tokens", "keyspace"]
)
def test_settings_that_are_not(name: str) -> None:
    assert not secret(name)


@pytest.mark.parametrize("piece", ["a", "://a:b", "?a", "%3Fa", "%25", "u:", "x=y", "a='", "%3Fsig%3D", "://@", '": "'])
def test_a_long_hostile_text_is_masked_too(piece: str) -> None:
    # What takes time in proportion takes a second here; what does not would take hours.
    assert len(mask(piece * (1_000_000 // len(piece)))) > 0


SETTINGS = {"spark.hadoop.fs.s3a.secret.key": f"{KEY}= \\ #", "spark.x.password": f"a b\n{KEY}"}


def test_secret_settings_reach_spark_in_a_file_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--name x pyspark-shell")
    with in_a_file(SETTINGS):
        words = shlex.split(os.environ["PYSPARK_SUBMIT_ARGS"])
        file = Path(words[words.index("--properties-file") + 1])
        assert words[-3:] == ["--name", "x", "pyspark-shell"]
        assert not any(KEY in word for word in words)
        assert (file.parent.stat().st_mode & 0o077, file.read_text().count("\n")) == (0, 2)
    assert not file.exists()
    assert os.environ["PYSPARK_SUBMIT_ARGS"] == "--name x pyspark-shell"


@pytest.mark.spark
def test_spark_gets_its_secrets_and_no_command_line_has_them(spark: SparkEngine) -> None:
    spark.stop()  # the session of the other tests, which begin another
    for _ in range(2):  # the second finds a JVM that is there, as all do after other tests
        engine = SparkEngine({**SPARK, "spark.master": "local[1]", **SETTINGS})
        try:
            known = engine.session.sparkContext.getConf()
            assert {name: known.get(name) for name in SETTINGS} == SETTINGS
            assert not [line for path in Path("/proc").glob("[0-9]*/cmdline") if KEY in (line := _line(path))]
        finally:
            engine.stop()


def _line(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:  # it has ended
        return ""


def test_what_a_sentence_has_behind_a_url_stays() -> None:
    said = "cannot read https://host/x?token=a:b,c: 404, of https://host/?sig=a; https://host/?key=a, and more"
    left = "cannot read https://host/x?token=***: 404, of https://host/?sig=***; https://host/?key=***, and more"
    assert mask(said) == left
