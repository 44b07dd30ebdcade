"""TLS: whose certificate is trusted, what is said where it is not, and HTTP/2.

The certificates are made by the `openssl` command, and the server, of HTTP/1.1 and HTTP/2, is here.
"""

import asyncio
import json
import shutil
import ssl
import subprocess
import threading
import time

import pytest

from engines.errors import EngineError
from engines.remote.direct import tls_context

CLIENTS = ("direct", "httpx")
EVENTS = "text/event-stream"
EXTENSIONS = """\
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1
[elsewhere]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = DNS:elsewhere.example
"""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder: `authority.pem`, and `server` and `elsewhere` (another host's), signed by it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("certificates are made by the openssl command, which is not on PATH")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "extensions").write_text(EXTENSIONS)
    (folder / "request").write_text("[req]\ndistinguished_name = name\n[name]\n")

    def openssl(*arguments):
        done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    for name in ("authority", "server", "elsewhere"):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        asks = f"req -new -config request -key {name}.key -subj /CN={name} -out {name}.csr"
        openssl(*asks.split())
        by = "-CA authority.pem -CAkey authority.key -set_serial 1"
        by = "-signkey authority.key" if name == "authority" else by
        signs = f"x509 -req -in {name}.csr {by} -days 2 -extfile extensions -extensions {name}"
        openssl(*signs.split(), "-out", f"{name}.pem")
    return folder


@pytest.fixture
def trusted(certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "authority.pem"))


@pytest.fixture
def serve_tls(certificates):
    servers = []

    def start(certificate="server", **options):
        servers.append(TlsServer(certificates, certificate, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class TlsServer:
    """A model behind TLS, in a thread. Without a certificate it speaks no TLS, as if by mistake.

    `seen` are the protocol and path of each request, `dropped` counts answers that the client left.
    """

    def __init__(self, folder, certificate, alpn=("http/1.1",), close_after_answer=False):
        self.seen = []
        self.connections = self.dropped = 0
        self._folder = folder
        self._close_after_answer = close_after_answer
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.set_alpn_protocols(list(alpn))
            self.show(certificate)
        self._loop = asyncio.new_event_loop()
        self._tasks = set()
        self._answering = asyncio.Event()
        self._answering.set()
        start = asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        self._server = self._loop.run_until_complete(start)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{port}/v1"
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def show(self, certificate):
        """The certificate of the connections to come."""
        files = (self._folder / f"{certificate}.{end}" for end in ("pem", "key"))
        self._context.load_cert_chain(*files)

    def answer(self, whether):
        """Whether requests over HTTP/2 are answered, or wait."""
        do = self._answering.set if whether else self._answering.clear
        self._loop.call_soon_threadsafe(do)

    def close(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    async def _connected(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        tls = writer.get_extra_info("ssl_object")
        try:
            if tls is None:
                await reader.read(4096)
                writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
            elif tls.selected_alpn_protocol() == "h2":
                await self._http2(reader, writer)
            else:
                await self._http1(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed it
        finally:
            writer.close()

    async def _http1(self, reader, writer):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            _, _, length = head.partition("content-length: ")
            body = await reader.readexactly(int(length.split()[0])) if length else b""
            path = head.split()[1]
            self.seen.append(("HTTP/1.1", path))
            kind, pieces = answer_to(path, body)
            start = f"content-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n" + start.encode())
            try:
                for piece in pieces:
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await writer.drain()
                    await asyncio.sleep(0.001)
            except ConnectionError:
                self.dropped += 1
                raise
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            if self._close_after_answer and body:
                return

    async def _http2(self, reader, writer):
        from h2 import config, connection, events

        h2 = connection.H2Connection(config.H2Configuration(client_side=False))
        h2.initiate_connection()
        asked = {}  # path and body by stream
        while True:
            writer.write(h2.data_to_send())
            data = await reader.read(65536)
            if not data:
                return
            for event in h2.receive_data(data):
                if isinstance(event, events.RequestReceived):
                    asked[event.stream_id] = [dict(event.headers)[b":path"].decode(), b""]
                elif isinstance(event, events.DataReceived):
                    asked[event.stream_id][1] += event.data
                    h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, events.StreamEnded):
                    path, body = asked.pop(event.stream_id)
                    self.seen.append(("HTTP/2", path))
                    answer = self._http2_answer(h2, writer, event.stream_id, path, body)
                    self._tasks.add(self._loop.create_task(answer))

    async def _http2_answer(self, h2, writer, stream_id, path, body):
        await self._answering.wait()
        kind, pieces = answer_to(path, body)
        h2.send_headers(stream_id, [(":status", "200"), ("content-type", kind)])
        for piece in pieces:
            h2.send_data(stream_id, piece)
        h2.end_stream(stream_id)
        writer.write(h2.data_to_send())


def answer_to(path, body):
    """A content type, and the pieces that are sent one by one."""
    if path == "/v1/models":
        return "application/json", [json.dumps({"data": [{"id": "m"}]}).encode()]
    tokens = json.loads(body)["max_tokens"]
    ends = [None] * (tokens - 1) + ["length"]
    choices = [[{"index": 0, "delta": {"content": " the"}, "finish_reason": end}] for end in ends]
    events = [{"choices": choice} for choice in choices]
    events.append({"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": tokens}})
    lines = [*(json.dumps(event) for event in events), "[DONE]"]
    return EVENTS, [f"data: {line}\n\n".encode() for line in lines]


def answered(rig):
    return {(record.status, record.reason, record.output_tokens) for record in rig.records.values()}


def wait(rig, until):
    end = time.monotonic() + 10
    while not until():
        rig.engine.rest(0.002)
        assert time.monotonic() < end


@pytest.mark.parametrize("trust_env", [None, True, False])  # of proxies; the certificates are apart
@pytest.mark.parametrize("client", CLIENTS)
def test_an_authority_named_by_the_environment(serve_tls, connect, trusted, client, trust_env):
    server = serve_tls()
    rig = connect(server, http_client=client, trust_env=trust_env)
    for request_id in range(3):
        rig.submit(request_id, max_tokens=40)
        rig.finish()
    assert server.connections == 2  # the question for models, and one for all of them
    rig.submit(3)
    rig.submit(4)
    rig.finish()
    assert answered(rig) == {("ok", "", 40), ("ok", "", 8)}
    assert sum(tokens for _, tokens in rig.emitted(2)) == 40
    assert set(server.seen) == {("HTTP/1.1", "/v1/models"), ("HTTP/1.1", "/v1/chat/completions")}
    assert rig.engine.describe()["http_client"] == client


def test_http2_where_the_server_has_it(serve_tls, connect, trusted):
    pytest.importorskip("h2", reason="HTTP/2 needs the package h2")
    server = serve_tls(alpn=("h2", "http/1.1"))
    rig = connect(server, http2=True)
    rig.serve(20)
    assert answered(rig) == {("ok", "", 8)}
    assert server.seen[1:] == [("HTTP/2", "/v1/chat/completions")] * 20
    assert server.connections == 2  # the question for models, and one for all
    described = rig.engine.describe()
    assert (described["http2"], described["http_versions"]) == (True, ["HTTP/2"])


def test_http2_where_the_server_lacks_it_is_http1_and_told(serve_tls, connect, trusted):
    pytest.importorskip("h2", reason="HTTP/2 needs the package h2")
    rig = connect(serve_tls(), http2=True)
    rig.serve(3)
    assert answered(rig) == {("ok", "", 8)}
    assert rig.engine.describe()["http_versions"] == ["HTTP/1.1"]


def test_http2_answers_that_are_given_up_leave_room_for_others(serve_tls, connect, trusted):
    pytest.importorskip("h2", reason="HTTP/2 needs the package h2")
    server = serve_tls(alpn=("h2", "http/1.1"))
    rig = connect(server, http2=True)
    rig.serve(1)
    server.answer(False)
    abandoned = range(1, 101)  # as many streams as a connection may have
    for request_id in abandoned:
        rig.submit(request_id)
    wait(rig, lambda: len(server.seen) == 102)
    for request_id in abandoned:
        assert rig.engine.cancel(request_id).status == "cancelled"
    server.answer(True)
    rig.submit(101)
    record = rig.finish()[101]
    assert (record.status, record.reason) == ("ok", "") and server.connections == 2


@pytest.mark.parametrize("trust_env", [True, False])
def test_an_unknown_authority_is_refused_with_what_to_do(
    serve_tls, connect, monkeypatch, tmp_path, trust_env
):
    server = serve_tls()
    for named in ("", str(tmp_path / "no-such-file.pem")):
        monkeypatch.setenv("SSL_CERT_FILE", named)
        with pytest.raises(EngineError) as refused:
            connect(server, trust_env=trust_env)
        said = str(refused.value)
        assert said.startswith(f"{server.url}/models: the server's certificate is refused: ")
        assert "file that holds its authority's certificate" in said
        assert said.endswith(f"SSL_CERT_FILE (now {named})" if named else "SSL_CERT_FILE")
    assert server.seen == []


def test_another_hosts_certificate_is_refused(serve_tls, connect, trusted):
    server = serve_tls("elsewhere")
    with pytest.raises(EngineError, match=r"not valid for '127\.0\.0\.1'; address the server by"):
        connect(server)
    assert server.seen == []


def test_https_to_a_server_without_tls(serve_tls, connect):
    with pytest.raises(EngineError, match=r"TLS failed: .*; is it an http:// address"):
        connect(serve_tls(None))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_certificate_that_is_bad_from_some_time_on(serve_tls, connect, trusted, client):
    server = serve_tls()
    rig = connect(server, http_client=client)
    server.show("elsewhere")
    rig.serve(2)
    for record in rig.records.values():
        assert (record.status, record.output_tokens) == ("failed", 0)
        assert record.reason.startswith("the server's certificate is refused: ")
        assert "not valid for '127.0.0.1'" in record.reason
    server.show("server")
    rig.submit(2)
    assert rig.finish()[2].status == "ok"


def test_connections_closed_by_the_server_are_replaced(serve_tls, connect, trusted):
    server = serve_tls(close_after_answer=True)
    rig = connect(server, http_client="direct")
    for request_id in range(5):
        rig.submit(request_id)
        rig.finish()
    assert answered(rig) == {("ok", "", 8)} and server.connections == 6


@pytest.mark.parametrize("client", CLIENTS)
def test_a_cancelled_request_closes_its_connection_under_tls(serve_tls, connect, trusted, client):
    server = serve_tls()
    rig = connect(server, http_client=client)
    rig.serve(1)  # so that tokens are seen as they come
    rig.submit(1, max_tokens=5000)
    while not rig.emitted(1):
        rig.step()
    record = rig.engine.cancel(1)
    wait(rig, lambda: server.dropped)
    assert record.status == "cancelled" and 0 < record.output_tokens < 5000


def test_a_system_without_authorities_has_those_of_httpx(monkeypatch, tmp_path):
    default = ssl.create_default_context

    def bare(**options):
        return default(**options) if options else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(ssl, "create_default_context", bare)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    assert tls_context().cert_store_stats()["x509_ca"] == 0  # what is named is not added to
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    context = tls_context()
    assert context.cert_store_stats()["x509_ca"] > 10
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
