"""The text of an API key: ``tri_<id>_<secret><checksum>``.

The prefix and the checksum let scanners of source code find a leaked key, and tell it from a look-alike, without
asking anyone; the id may be logged. The secret has 256 bits, so one round of SHA-256 keeps it as safe as a slow hash
would (OWASP Password Storage: slow hashes are for what people choose). Knows nothing of who a key belongs to.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

PREFIX = "tri_"
ID_CHARS = 12
SECRET_CHARS = 43  # 43 * log2(62) = 256 bits
CHECKSUM_CHARS = 6  # 62**6 > 2**32, the values of a CRC-32
ID_PATTERN = f"[0-9a-z]{{{ID_CHARS}}}"

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(f"{PREFIX}({ID_PATTERN})_([0-9A-Za-z]{{{SECRET_CHARS}}})([0-9A-Za-z]{{{CHECKSUM_CHARS}}})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its owner has it."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> ApiKey:
        """A key that nobody else has."""
        return cls(new_id(), "".join(secrets.choice(_DIGITS) for _ in range(SECRET_CHARS)))

    @classmethod
    def parse(cls, text: str) -> ApiKey | None:
        """The key that ``text`` is; None if it is none, or mistyped."""
        match = _KEY.fullmatch(text)
        if match is None:
            return None
        key = cls(match[1], match[2])
        return key if hmac.compare_digest(_checksum(key), match[3]) else None

    def text(self) -> str:
        """What its owner is shown, once."""
        return f"{PREFIX}{self.id}_{self.secret}{_checksum(self)}"

    def sha256(self) -> str:
        """Hex digest of the secret: what is kept of it."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def new_id() -> str:
    """A name for a key: 12 characters of 0-9 and a-z."""
    return "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(ID_CHARS))


def _checksum(key: ApiKey) -> str:
    number, digits = zlib.crc32(f"{PREFIX}{key.id}_{key.secret}".encode()), ""
    for _ in range(CHECKSUM_CHARS):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
