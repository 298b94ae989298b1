"""The server of flairprep view: who gets what, and who gets nothing. Requests are written by hand, byte by byte."""

import errno
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from flairprep.core.errors import FlairprepError
from flairprep.viewer.server import LocalServer, Resource

PAGE, PACKED = b"<p>page", b"\x1f\x8b, as if"
TABLE = {
    "00001/": Resource("text/html; charset=utf-8", lambda: PAGE),
    "00001/scan.nii.gz": Resource("application/gzip", lambda: bytes(1000)),
    "script.js": Resource("text/javascript", lambda: PACKED, gzipped=True),
}
SAFE = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A server that asks no name server."""

    def refuse(*_: object) -> str:
        raise AssertionError("a name was looked up")

    for name in ("getfqdn", "gethostbyname", "gethostbyaddr", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    with LocalServer(TABLE.get, "00001/") as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def port(server: LocalServer) -> int:
    return int(server.server_address[1])


def exchange(server: LocalServer, head: str, body: bytes = b"") -> Reply:
    """What comes back for a request with these lines, written as they are."""
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port(server)))
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        reply = http.client.HTTPResponse(connection, method=head.split(" ", 1)[0])
        reply.begin()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())


def ask(server: LocalServer, path: str, method: str = "GET", host: str | None = None) -> Reply:
    return exchange(server, f"{method} {path} HTTP/1.1\nHost: {host or f'127.0.0.1:{port(server)}'}")


def safe(reply: Reply) -> bool:
    """Whether the browser is told to keep it from other pages, and to keep nothing."""
    policy = reply.headers["content-security-policy"].split("; ")
    return (
        reply.headers.items() >= SAFE.items()
        and "default-src 'self'" in policy
        and "frame-ancestors 'none'" in policy
        and not any("unsafe" in directive or "*" in directive for directive in policy)
        and not any(name.startswith("access-control") for name in reply.headers)
        and "python" not in reply.headers["server"].lower()
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_who_knows_the_token_gets_each_resource_of_the_table(host: str, server: LocalServer) -> None:
    for path, resource in TABLE.items():
        reply = ask(server, f"/{server.gate.token}/{path}", host=f"{host}:{port(server)}")
        assert (reply.status, reply.body) == (200, resource.content())
        assert reply.headers["content-type"] == resource.media
        assert reply.headers["content-length"] == str(len(reply.body))
        assert reply.headers.get("content-encoding") == ("gzip" if resource.gzipped else None)
        assert safe(reply)


def test_head_tells_the_same_without_a_body(server: LocalServer) -> None:
    path = f"/{server.gate.token}/00001/"
    whole, head = ask(server, path), ask(server, path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    dates = {"date": ""}
    assert head.headers | dates == whole.headers | dates


def test_without_the_token_nothing_is_handed_out(server: LocalServer) -> None:
    token = server.gate.token
    with LocalServer(TABLE.get, "00001/") as other:
        foreign = other.gate.token
    assert len({token, foreign, server.gate.launch}) == 3
    assert min(len(token), len(server.gate.launch)) >= 43, "256 bits in base64"
    first = "A" if token[0] != "A" else "B"
    wrong = ["", foreign, token[:-1], f"{token}x", first + token[1:], f"%{ord(token[0]):02x}{token[1:]}", "\xe9"]
    for given in wrong:
        for path in ("", "00001/", "script.js", "nothing"):
            reply = ask(server, f"/{given}/{path}")
            assert (reply.status, safe(reply)) == (403, True), given
            assert PAGE not in reply.body
    at_the_end = ("/", "/00001/", f"/00001/{token}/", f"/?{token}", f"{token}/00001/", f"x/{token}/00001/", "*")
    for path in (*at_the_end, f"http://127.0.0.1:{port(server)}/{token}/00001/"):
        assert ask(server, path).status == 403, path
    reply = exchange(server, f"GET / HTTP/1.1\nHost: 127.0.0.1:{port(server)}\nCookie: token={token}; {token}")
    assert reply.status == 403


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "00001", "00001//", "00001/./", "./00001/", "00001/../00001/", "%30%30001/", "00001/?", "00001/#"),
        *(
            "../../../../etc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "..%2f..%2fetc%2fpasswd",
            "/etc/passwd",
            "//etc/passwd",
        ),
        *("..\\..\\etc\\passwd", "....//etc/passwd", "00001/../../params.yaml", "00001/%00scan.nii.gz", "00001;/"),
        *("00001/scan.nii.gz/", "00001/scan.nii.gz?x=1", "00001/scan.nii", "00001/SCAN.NII.GZ", "SCRIPT.JS", "00002/"),
        *("\xc0\xae\xc0\xae/", "%c0%ae%c0%ae/", "%252e%252e/", "params.yaml", "favicon.ico", "00001/" + "a" * 5000),
    ],
)
def test_every_other_path_is_not_found(path: str, server: LocalServer) -> None:
    reply = ask(server, f"/{server.gate.token}/{path}")
    assert reply.status == 404
    assert safe(reply)
    assert b"root:" not in reply.body


@pytest.mark.parametrize(
    "hosts",
    [
        *([], ["example.org:PORT"], ["example.org"], ["127.0.0.1"], ["localhost"], ["127.0.0.1:1"], ["127.0.0.2:PORT"]),
        *(
            ["127.0.0.1.example.org:PORT"],
            ["localhost.:PORT"],
            ["0.0.0.0:PORT"],
            ["[::1]:PORT"],
            ["user@localhost:PORT"],
        ),
        *([""], ["127.0.0.1:PORT", "example.org:PORT"], ["127.0.0.1:PORT", "127.0.0.1:PORT"]),
    ],
)
def test_a_request_to_another_host_is_refused_whatever_it_knows(hosts: list[str], server: LocalServer) -> None:
    lines = "".join(f"\nHost: {host}" for host in hosts).replace("PORT", str(port(server)))
    reply = exchange(server, f"GET /{server.gate.token}/00001/ HTTP/1.1{lines}")
    assert reply.status == 421
    assert safe(reply)
    assert PAGE not in reply.body


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "FOO"]
)
def test_every_other_method_is_refused(method: str, server: LocalServer) -> None:
    path = f"/{server.gate.token}/00001/"
    head = f"{method} {path} HTTP/1.1\nHost: 127.0.0.1:{port(server)}\nContent-Length: 3"
    reply = exchange(server, head, b"a=1")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
    assert safe(reply)


@pytest.mark.parametrize("line", ["GET", "GET  / HTTP/1.1", "GET / HTTP/9", "GET / HTTP/1.1 x", "\x00"])
def test_what_is_no_request_is_refused_with_the_same_care(line: str, server: LocalServer) -> None:
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port(server)))
        connection.sendall(f"{line}\r\n\r\n".encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert PAGE not in answer
    assert not answer.startswith(b"HTTP/1.0 200")
    assert b"HTTP/1.0" not in answer or b"nosniff" in answer


def test_the_address_that_opens_the_browser_works_once_and_leads_to_the_first_page(server: LocalServer) -> None:
    gate = server.gate
    assert gate.token not in gate.address(gate.launch)
    path = gate.address(gate.launch).removeprefix(f"http://127.0.0.1:{port(server)}")
    for wrong in (f"{path}00001/", path.rstrip("/")):
        assert ask(server, wrong).status == 403
    assert ask(server, path, host="example.org").status == 421
    reply = ask(server, path)
    assert (reply.status, reply.headers["location"]) == (303, f"/{gate.token}/00001/")
    assert safe(reply)
    assert ask(server, path).status == 403, "somebody read it from the list of processes"


def test_it_listens_on_the_loopback_address_alone(server: LocalServer) -> None:
    assert server.socket.getsockname() == ("127.0.0.1", port(server))
    for address in ("127.0.0.2", "::1"):  # which a server of all addresses would answer
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as connection:
            assert connection.connect_ex((address, port(server))) != 0


def test_what_a_stage_has_removed_is_not_found_and_says_nothing_of_folders(server: LocalServer) -> None:
    def gone() -> bytes:
        raise FileNotFoundError("/home/somebody/secret")

    server.gate._find = {"gone": Resource("text/plain", gone)}.get
    reply = ask(server, f"/{server.gate.token}/gone")
    assert reply.status == 404
    assert b"somebody" not in reply.body


def test_a_port_that_is_in_use_is_named_with_the_option(server: LocalServer) -> None:
    with pytest.raises(FlairprepError, match=f"--port {port(server)}: "):
        LocalServer(TABLE.get, "00001/", port(server))


def test_a_port_of_the_systems_own_servers_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: LocalServer) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(LocalServer, "server_bind", refuse)
    with pytest.raises(FlairprepError, match="--port 80: "):
        LocalServer(TABLE.get, "00001/", 80)
