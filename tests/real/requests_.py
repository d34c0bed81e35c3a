"""requests: prepares requests, and makes them to an HTTP server that a thread of this program runs on loopback."""

import gzip
import http.server
import importlib.metadata
import io
import json
import threading
import time
import urllib.parse

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3.util import Retry

# Preparing needs no network.
prepared = requests.Request(
    "post", "http://example.org/a b", params={"q": ["1", "é"]}, data={"k": "v"}, headers={"X-One": "1"}, cookies={"c": "d"}
).prepare()
assert prepared.method == "POST" and prepared.url == "http://example.org/a%20b?q=1&q=%C3%A9"
assert prepared.body == "k=v" and prepared.headers["x-one"] == "1" and prepared.headers["Cookie"] == "c=d"
assert prepared.headers["Content-Type"] == "application/x-www-form-urlencoded"
prepared = requests.Request("PUT", "http://münchen.example/", json={"a": [1]}, auth=("me", "pw")).prepare()
assert prepared.url == "http://xn--mnchen-3ya.example/" and prepared.body == b'{"a": [1]}'
assert prepared.headers["Authorization"] == "Basic bWU6cHc="
prepared = requests.Request("POST", "http://h/", files={"f": ("name.txt", io.BytesIO(b"text"))}).prepare()
assert prepared.headers["Content-Type"].startswith("multipart/form-data; boundary=")
assert b'filename="name.txt"\r\n\r\ntext\r\n' in prepared.body
for bad, error in [("no-scheme", requests.exceptions.MissingSchema), ("http://", requests.exceptions.InvalidURL)]:
    try:
        requests.Request("GET", bad).prepare()
    except error:
        pass
    else:
        raise AssertionError(bad)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    failures = 0

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/echo":
            seen = {"headers": {name.lower(): value for name, value in self.headers.items()}, "query": query}
            self.answer(json.dumps(seen).encode())
        elif path == "/set":
            self.answer(b"{}", Set_Cookie="token=abc; Path=/; HttpOnly")
        elif path == "/redirect":
            left = int(query)
            target = f"/redirect?{left - 1}" if left else "/echo"
            self.answer(b"", 302, Location=target, Set_Cookie=f"step{left}=yes")
        elif path == "/gzip":
            self.answer(gzip.compress("grüß".encode("latin-1")), kind="text/plain; charset=iso-8859-1", Content_Encoding="gzip")
        elif path == "/guess":
            self.answer("Текст на русском языке, чтобы угадать кодировку.".encode("cp1251") * 4, kind="application/octet-stream")
        elif path == "/slow":
            time.sleep(1)
            self.answer(b"{}")
        elif path == "/flaky":
            Handler.failures += 1
            self.answer(b"{}", 503 if Handler.failures < 3 else 200)
        elif path == "/auth":
            good = self.headers["Authorization"] == "Basic bWU6cHc="
            self.answer(b"{}", 200 if good else 401)
        elif path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in (b"one\n", b"two\nthr", b"ee\n", b""):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        else:
            self.answer(b'{"error": "nothing here"}', 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({"type": self.headers["Content-Type"], "body": body.decode()}).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
thread = threading.Thread(target=server.serve_forever)
thread.start()
base = f"http://127.0.0.1:{server.server_port}"

try:
    with requests.Session() as http_:
        http_.trust_env = False
        http_.headers["X-Session"] = "kept"

        answer = http_.get(base + "/echo", params={"a": "1 2"}, headers={"X-Own": "own"}, timeout=10)
        assert answer.ok and answer.status_code == requests.codes.ok and answer.reason == "OK"
        seen = answer.json()
        assert seen["query"] == "a=1+2" and seen["headers"]["x-session"] == "kept" and seen["headers"]["x-own"] == "own"
        assert seen["headers"]["user-agent"] == f"python-requests/{requests.__version__}"
        assert answer.headers["content-TYPE"] == "application/json" and answer.elapsed.total_seconds() > 0

        answer = http_.post(base + "/", json={"é": None}, timeout=10).json()
        assert answer["type"] == "application/json" and json.loads(answer["body"]) == {"é": None}
        answer = http_.post(base + "/", data=[("a", "1"), ("a", "2")], timeout=10).json()
        assert urllib.parse.parse_qs(answer["body"]) == {"a": ["1", "2"]}

        # Cookies stay in the session and go along redirects.
        http_.get(base + "/set", timeout=10)
        assert http_.cookies.get_dict() == {"token": "abc"}
        answer = http_.get(base + "/redirect?2", timeout=10)
        assert [step.status_code for step in answer.history] == [302] * 3 and answer.url == base + "/echo"
        assert answer.json()["headers"]["cookie"] == "step0=yes; step1=yes; step2=yes; token=abc" or set(
            answer.json()["headers"]["cookie"].split("; ")
        ) == {"step0=yes", "step1=yes", "step2=yes", "token=abc"}
        answer = http_.get(base + "/redirect?1", allow_redirects=False, timeout=10)
        assert answer.is_redirect and answer.headers["Location"] == "/redirect?0"
        http_.max_redirects = 3
        try:
            http_.get(base + "/redirect?9", timeout=10)
        except requests.TooManyRedirects as error:
            assert error.response.status_code == 302
        else:
            raise AssertionError("nine redirects are too many")

        # Encodings: declared, compressed, guessed.
        answer = http_.get(base + "/gzip", timeout=10)
        assert answer.text == "grüß" and answer.encoding == "iso-8859-1"
        answer = http_.get(base + "/guess", timeout=10)
        assert answer.encoding is None and answer.apparent_encoding.lower().replace("-", "") in ("cp1251", "windows1251")
        assert answer.text.startswith("Текст")

        # Streams.
        with http_.get(base + "/chunks", stream=True, timeout=10) as answer:
            assert list(answer.iter_lines()) == [b"one", b"two", b"three"]

        # Failures.
        answer = http_.get(base + "/none", timeout=10)
        assert answer.json() == {"error": "nothing here"}
        try:
            answer.raise_for_status()
        except requests.HTTPError as error:
            assert str(error).startswith("404 Client Error: Not Found for url: ") and isinstance(error, OSError)
        else:
            raise AssertionError("404 is an error")
        try:
            http_.get(base + "/slow", timeout=0.1)
        except requests.ReadTimeout as error:
            assert error.request.url == base + "/slow"
        else:
            raise AssertionError("the server is slow")
        assert http_.get(base + "/auth", timeout=10).status_code == 401
        assert http_.get(base + "/auth", auth=HTTPBasicAuth("me", "pw"), timeout=10).status_code == 200

        # Retries, hooks, an adapter of one's own.
        http_.mount(base + "/flaky", HTTPAdapter(max_retries=Retry(3, backoff_factor=0, status_forcelist=[503])))
        urls = []
        answer = http_.get(base + "/flaky", hooks={"response": lambda answer, **kw: urls.append(answer.url)}, timeout=10)
        assert answer.status_code == 200 and Handler.failures == 3 and urls == [base + "/flaky"]

        class Adapter(BaseAdapter):
            def send(self, request, **kw):
                answer = requests.Response()
                answer.status_code, answer._content, answer.url = 200, b"own", request.url
                return answer

            def close(self):
                pass

        http_.mount("own://", Adapter())
        assert http_.get("own://x").text == "own"
finally:
    server.shutdown()
    server.server_close()
    thread.join()

try:
    requests.get(base, timeout=5, proxies={"http": ""})
except requests.ConnectionError as error:
    assert "refused" in str(error).lower(), error
else:
    raise AssertionError("the server has gone")

print("ok: requests", importlib.metadata.version("requests"))
