"""The text of a key: unguessable, checked, told from anything else."""

from __future__ import annotations

import hashlib
import math
import re
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.api_key import ApiKey


def test_a_key_is_read_back() -> None:
    key = ApiKey.new()
    assert ApiKey.parse(key.text()) == key
    assert re.fullmatch(r"tri_[0-9a-z]{12}_[0-9A-Za-z]{49}", key.text())


def test_a_secret_has_over_128_bits_and_no_two_are_alike() -> None:
    keys = [ApiKey.new() for _ in range(200)]
    assert len({key.secret for key in keys}) == len({key.id for key in keys}) == 200
    assert set("".join(key.secret for key in keys)) == set(string.digits + string.ascii_letters)
    assert len(keys[0].secret) * math.log2(62) > 256


def test_the_checksum_is_a_crc_in_base_62() -> None:
    key = ApiKey("a" * 12, "B" * 43)
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    number = 0
    for char in key.text()[-6:]:
        number = number * 62 + digits.index(char)
    assert number == zlib.crc32(key.text()[:-6].encode())


def test_what_is_kept_is_the_digest_of_the_secret() -> None:
    key = ApiKey.new()
    assert key.sha256() == hashlib.sha256(key.secret.encode()).hexdigest()


def test_a_key_does_not_show_its_secret() -> None:
    key = ApiKey.new()
    assert key.secret not in f"{key} {key!r}"
    assert key.id in repr(key)


@given(place=st.integers(0, 65), char=st.sampled_from(string.ascii_letters + string.digits + "_-é \n\0"))
def test_one_wrong_character_is_noticed(place: int, char: str) -> None:
    text = ApiKey("0a1b2c3d4e5f", "Z9" * 21 + "q").text()
    assert len(text) == 66
    assert (ApiKey.parse(text[:place] + char + text[place + 1 :]) is None) == (text[place] != char)


@given(st.text(max_size=100))
def test_text_is_no_key(text: str) -> None:
    assert ApiKey.parse(text) is None
    assert ApiKey.parse(f"tri_{text}") is None


@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}x", "x{}", "{}{}"])
def test_nothing_may_stand_around_a_key(around: str) -> None:
    text = ApiKey.new().text()
    assert ApiKey.parse(around.format(text, text)) is None
