"""The endpoint: it keeps in mind what it was sent, by whom, and when."""

import hashlib
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Delivery:
    """A file of which all has arrived and that was accepted."""

    sender: str
    path: str
    key: str
    size: int
    digest: str
    at: float
    """When its last byte had arrived, by the monotonic clock."""


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Receiver:
    """Accepts everything. Who sends is the path of the URL.

    After `hold_after` acceptances of a sender's (None: never) its further requests are answered only
    once `release` is called: all senders can so be brought into the middle of their work.
    """

    def __init__(self):
        self.deliveries = []
        self.begun = []
        """Sender and path of each request, complete or not."""
        self.hold_after = None
        self.held = []
        """Who waits for an answer that is held back."""
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                if "100-continue" in self.headers.get("Expect", ""):
                    self.send_response_only(100)
                    self.end_headers()
                receiver.begun.append((self.path.strip("/"), urllib.parse.unquote(self.headers["X-File-Path"])))
                left, hashed = int(self.headers["Content-Length"]), hashlib.sha256()
                while left:
                    data = self.rfile.read1(min(left, 1 << 16))
                    if not data:
                        self.close_connection = True
                        return  # broken off
                    hashed.update(data)
                    left -= len(data)
                sender = self.path.strip("/")
                receiver.hold(sender)
                receiver.deliveries.append(Delivery(
                    sender, urllib.parse.unquote(self.headers["X-File-Path"]),
                    self.headers["Idempotency-Key"], int(self.headers["Content-Length"]),
                    hashed.hexdigest(), time.monotonic()))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def handle(self):
                try:
                    super().handle()
                except OSError:
                    pass  # the sender has broken it off

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hold(self, sender):
        if self.hold_after is not None and len(self.of(sender)) >= self.hold_after:
            self.held.append(sender)
            self.released.wait()

    def release(self):
        """Answers what is held back, and holds nothing back any more."""
        self.hold_after = None
        self.released.set()
        self.released = threading.Event()
        self.held.clear()

    def url(self, sender):
        return f"http://127.0.0.1:{self.server.server_port}/{sender}"

    def of(self, *senders):
        """What these have delivered, in the order of its arrival."""
        return [delivery for delivery in list(self.deliveries) if delivery.sender in senders]

    def paths(self, *senders):
        return {delivery.path for delivery in self.of(*senders)}

    def repeats(self, *senders):
        """The paths that arrived more than once with one key and content, and how often again."""
        seen = Counter((one.path, one.key, one.digest) for one in self.of(*senders))
        return {path: count - 1 for (path, _, _), count in seen.items() if count > 1}

    def repeats_of_all(self, *senders):
        """The paths that arrived more than once from these, whoever sent them."""
        seen = Counter((one.path, one.digest) for one in self.of(*senders))
        return {path: count - 1 for (path, _), count in seen.items() if count > 1}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
