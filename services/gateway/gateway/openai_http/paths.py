"""Where a part of the contract came from in the client's JSON, so that errors name what the client wrote. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PART = re.compile(r"^messages\[(\d+)]\.parts\[(\d+)]")
_MESSAGE = re.compile(r"^messages\[(\d+)]")


class Paths:
    """Filled in while a conversation is translated; then tells any field's path in the client's JSON."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """``names``: parameters of ``sampling`` that the client calls otherwise."""
        self._names = names
        self._messages: list[str] = []
        self._parts: list[list[str]] = []

    def add_message(self, path: str) -> None:
        """The next message of the contract stands at ``path``."""
        self._messages.append(path)
        self._parts.append([])

    def add_part(self, path: str) -> None:
        """The next part of that message stands at ``path``."""
        self._parts[-1].append(path)

    def of_part(self, message_index: int, part_index: int) -> str:
        """The client's path of a part; empty if there is none."""
        return self.of(f"messages[{message_index}].parts[{part_index}]")

    def of(self, field: str) -> str:
        """The client's path of a field of the contract; the field itself if it is no translated one."""
        if match := _PART.match(field):
            message, part = (int(index) for index in match.groups())
            known = message < len(self._parts) and part < len(self._parts[message])
            return self._parts[message][part] if known else ""
        if match := _MESSAGE.match(field):
            message = int(match[1])
            return self._messages[message] + field[match.end() :] if message < len(self._messages) else "messages"
        if field.startswith("sampling."):
            name = re.split(r"[.\[]", field.removeprefix("sampling."))[0]
            return self._names.get(name, field.removeprefix("sampling."))
        return field
