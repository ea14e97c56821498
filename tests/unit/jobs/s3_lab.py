"""A small S3 on loopback: what the object store asks of one, from the API's reference, kept in memory.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape


class _S3(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, bytes] = {}
        self.parts: dict[int, bytes] = {}
        self.is_failing = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _S3

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").lstrip("/")

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(503 if self.server.is_failing else status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        body = self._body()
        with self.server.lock:
            if "partNumber" in self._query:
                self.server.parts[int(self._query["partNumber"])] = body
            elif self.headers.get("If-None-Match") == "*" and self._key in self.server.objects:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            else:
                self.server.objects[self._key] = body
        return self._answer(200, ETag='"e"')

    def do_GET(self) -> None:
        if "list-type" in self._query:
            return self._answer(200, self._listing())
        body = self.server.objects.get(self._key)
        if body is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return self._answer(200, body, ETag='"e"', Last_Modified=formatdate(usegmt=True))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self._body()
        if "uploads" in self._query:
            self.server.parts.clear()
            upload = "<UploadId>u</UploadId>"
            return self._answer(
                200, f"<InitiateMultipartUploadResult>{upload}</InitiateMultipartUploadResult>".encode()
            )
        if "uploadId" in self._query:
            self.server.objects[self._key] = b"".join(part for _, part in sorted(self.server.parts.items()))
            done = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
            return self._answer(200, done)
        elements = ElementTree.fromstring(body).iter()  # our own client's
        keys = [element.text or "" for element in elements if element.tag.endswith("Key")]
        for key in keys:
            self.server.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def do_DELETE(self) -> None:
        if "uploadId" not in self._query:
            self.server.objects.pop(self._key, None)
        return self._answer(204)

    def _listing(self) -> bytes:
        prefix, after = self._query.get("prefix", ""), self._query.get("start-after", "")
        found, folders = "", set()
        for key, body in sorted(self.server.objects.items()):
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key.removeprefix(prefix)
            if self._query.get("delimiter") and "/" in rest:
                folders.add(prefix + rest.partition("/")[0] + "/")
                continue
            about = f"<Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>e</ETag>"
            found += f"<Contents>{about}<LastModified>2026-11-22T12:00:00.000Z</LastModified></Contents>"
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}{common}</ListBucketResult>".encode()


@contextlib.contextmanager
def running_s3() -> Iterator[_S3]:
    """Its bucket is called bucket; ``s3_environment`` is how a client is told of it."""
    server = _S3()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def s3_environment(server: _S3) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "here-1",
    }
