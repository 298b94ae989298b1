"""Hand out a fixed set of resources on 127.0.0.1 to those who know a token; write nothing, ask nobody.

The token is the first part of every path rather than a cookie: browsers send the cookies of 127.0.0.1 to the servers on
all of its ports, and any of them may set one. A path goes to this server alone, and no page elsewhere can guess it.
"""

import errno
import hmac
import http.server
import secrets
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError

HOST = "127.0.0.1"
METHODS = ("GET", "HEAD")
PATIENCE = 30  # seconds that a connection may be silent before it has asked
PLAIN = "text/plain; charset=utf-8"
HEADERS = {
    # NiiVue draws its letters from a picture inside its script.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Resource(NamedTuple):
    """media: its media type; content: makes its bytes when it is asked for; gzipped: they are, and are a text."""

    media: str
    content: Callable[[], bytes]
    gzipped: bool = False


class Answer(NamedTuple):
    """What goes back beside HEADERS."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes


class Gate:
    """Decide what a request gets; know nothing of sockets.

    token: the first part of every path. launch: a token that stands for it once, since whoever starts a browser shows
    the address to the other users of the machine.
    """

    def __init__(self, find: Callable[[str], Resource | None], port: int, start: str) -> None:
        """Let `find` name the resource of a path behind the token, None for others; `start` is the first page's."""
        self.token, self.launch = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._find, self._start, self._port = find, start, port
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self._lock, self._launched = threading.Lock(), False

    def address(self, token: str) -> str:
        """Return the address that a browser opens."""
        return f"http://{HOST}:{self._port}/{token}/{self._start if token == self.token else ''}"

    def answer(self, method: str, hosts: Sequence[str], path: str) -> Answer:
        """Answer one request. hosts: its Host headers; path: as it came, nothing decoded."""
        if (
            len(hosts) != 1 or hosts[0].lower() not in self._hosts
        ):  # a name that somebody made lead here (DNS rebinding)
            return refusal(HTTPStatus.MISDIRECTED_REQUEST)
        if method not in METHODS:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        before, _, behind = path.partition("/")
        given, _, rest = behind.partition("/")
        if path == f"/{given}/" and _equal(given, self.launch) and self._first():
            return Answer(HTTPStatus.SEE_OTHER, {"Location": f"/{self.token}/{self._start}"}, b"")
        if before or not _equal(given, self.token):
            return refusal(HTTPStatus.FORBIDDEN)
        resource = self._find(rest)
        if resource is None:
            return refusal(HTTPStatus.NOT_FOUND)
        try:
            body = resource.content()
        except (FlairprepError, CaseError, OSError):  # a stage that runs now removed it; the page says what is missing
            return refusal(HTTPStatus.NOT_FOUND)
        encoding = {"Content-Encoding": "gzip"} if resource.gzipped else {}
        return Answer(HTTPStatus.OK, {"Content-Type": resource.media, **encoding}, body)

    def _first(self) -> bool:
        with self._lock:
            first, self._launched = not self._launched, True
        return first


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def refusal(status: HTTPStatus) -> Answer:
    """Return an answer that says its status and nothing of the request."""
    allowed = {"Allow": ", ".join(METHODS)} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}
    return Answer(status, {"Content-Type": PLAIN, **allowed}, f"{status.value} {status.phrase}\n".encode())


class _Handler(http.server.BaseHTTPRequestHandler):
    """Ask the gate of its server; one request per connection."""

    server: "LocalServer"
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._send(self.server.gate.answer(self.command, self.headers.get_all("Host", []), self.path))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request of HTTP (4xx, 505), or has a method that nobody knows (501)."""
        self._send(refusal(HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, **HEADERS, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        """Name the program, and no version that somebody could look up the faults of."""
        return "flairprep"

    def log_message(self, *_: Any) -> None:
        """Print nothing: a line would hold the token."""


class LocalServer(http.server.ThreadingHTTPServer):
    """A server of 127.0.0.1 alone, with one thread per request.

    gate: see Gate.
    """

    def __init__(self, find: Callable[[str], Resource | None], start: str, port: int = 0) -> None:
        """Listen on `port`, 0 for a free one.

        Raises:
            FlairprepError: the port is taken, or this user may not use it.
        """
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            why = "is in use" if error.errno == errno.EADDRINUSE else "is for the system's own servers"
            raise FlairprepError(f"--port {port}: {why}; choose another one, or leave --port out") from error
        self.gate = Gate(find, self.server_address[1], start)

    def server_bind(self) -> None:
        """Bind as every TCP server does: that of HTTP would ask the name server for the machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, *given: Any) -> None:
        """Print what went wrong, unless the browser went away, as it does where a person turns to the next case."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*given)
