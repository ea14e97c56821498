"""A form with one file in it (RFC 7578), taken apart as it arrives: its fields are kept, its file is passed on.

Everything but the file's bytes is bounded here. Knows no HTTP beyond the header that names the boundary.
"""

from __future__ import annotations

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.openai_http.refusals import HttpError

MAX_PARTS = 8
MAX_FIELD_BYTES = 1024
MAX_FILENAME_CHARS = 255


class FormLimits(NamedTuple):
    """How much a form may hold."""

    max_file_bytes: int

    @property
    def max_form_bytes(self) -> int:
        """The file, and room for all else: fields, their headers (4 KiB a line, 8 of them) and boundaries."""
        return self.max_file_bytes + MAX_PARTS * (MAX_FIELD_BYTES + 8 * 4096 + 512)


class FormReader:
    """Takes a form chunk by chunk and hands out the bytes of its part ``file``."""

    def __init__(self, content_type: str, limits: FormLimits) -> None:
        """Raises HttpError unless ``content_type`` is that of a form."""
        self._limits = limits
        self.fields: dict[str, str] = {}
        """Of the parts that are no file, as far as they have come."""
        self.filename = ""
        """As the client calls its file; empty until it begins."""
        self.has_ended = False
        self._num_parts = self._num_file_bytes = 0
        self._name: str | None = None
        self._header, self._disposition = b"", b""
        self._value = bytearray()
        self._file: list[bytes] = []
        self._parser = self._open(content_type)

    def _open(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            message = "Send a form with a file, with the header Content-Type: multipart/form-data; boundary=..."
            raise HttpError(message, code="unsupported_content_type", status=415)
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            return MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise _malformed() from error

    def feed(self, chunk: bytes) -> bytes:
        """The bytes of the file that ``chunk`` has. Raises HttpError for a form that is none or breaks a limit."""
        self._file.clear()
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed() from error
        return b"".join(self._file)

    def end(self) -> None:
        """Raises HttpError unless the form is whole and has a file."""
        if not self.has_ended:
            raise _malformed()
        if not self.filename:
            raise HttpError("The form has no file.", code="missing_required_parameter", param="file")

    def _on_part_begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise HttpError(f"A form has at most {MAX_PARTS} parts.", code="invalid_form")
        self._name, self._disposition = None, b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _on_header_end(self) -> None:
        self._header = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name or name in self.fields or (name == "file" and self.filename):
            raise HttpError("Every part of a form has a name of its own.", code="invalid_form", param=name)
        self._name = name
        if name == "file":
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or "file"
            self._check_filename()

    def _check_filename(self) -> None:
        if len(self.filename) > MAX_FILENAME_CHARS or not self.filename.isprintable():
            message = f"A file's name has at most {MAX_FILENAME_CHARS} printable characters."
            raise HttpError(message, code="invalid_filename", param="file")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._num_file_bytes += end - start
            if self._num_file_bytes > self._limits.max_file_bytes:
                raise too_large(self._limits.max_file_bytes)
            self._file.append(data[start:end])
        else:
            if len(self._value) + end - start > MAX_FIELD_BYTES:
                raise HttpError(
                    f"A field has at most {MAX_FIELD_BYTES} bytes.", code="invalid_form", param=self._name or ""
                )
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        if self._name and self._name != "file":
            self.fields[self._name] = self._value.decode("utf-8", "replace")
        self._value.clear()

    def _on_end(self) -> None:
        self.has_ended = True


def too_large(max_file_bytes: int) -> HttpError:
    """A file of more bytes than may be."""
    message = f"A file has at most {max_file_bytes} bytes. Split it into several."
    return HttpError(message, code="file_too_large", param="file", status=413)


def _malformed() -> HttpError:
    return HttpError("The body is no whole multipart form.", code="invalid_form")
