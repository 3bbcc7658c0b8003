"""The program that is tested: started on a folder, with a configuration and a log of its own."""

import itertools
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from machine import wait_until

PROGRAM = "/shares/dirpost"
NOBODY = "http://127.0.0.1:9/"
_numbers = itertools.count(1)


class Dirpost:
    """One `dirpost run`. `settings` are lines of the configuration. Without a receiver its endpoint
    refuses all connections."""

    def __init__(self, folder, receiver, *settings, name=None):
        self.name = name or f"dirpost{next(_numbers)}"
        self.folder = Path(folder)
        self.files = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.config = self.files / "dirpost.toml"
        self.log_file = self.files / "log"
        self.log_file.touch()
        lines = [f'watch.dir = "{folder}"', f'send.url = "{receiver.url(self.name) if receiver else NOBODY}"', *settings]
        self.config.write_text("\n".join(lines) + "\n")
        self.process = None

    def local_state(self):
        """The setting that keeps its state on a disk of this machine."""
        return f'state.dir = "{self.files / "state"}"'

    def start(self):
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen([PROGRAM, "run", "--config", self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def starts(self, seconds=60):
        """Starts it, and waits until it watches the folder."""
        self.start()
        wait_until(f"{self.name} to watch {self.folder}",
                   lambda: "first look:" in self.log() or self.process.poll() is not None, seconds)
        assert self.process.poll() is None, self.log()
        return self

    def command(self, *words, seconds=60):
        """Another command with the same configuration: its exit code, its output and the seconds."""
        began = time.monotonic()
        done = subprocess.run([PROGRAM, *words, "--config", self.config], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=seconds)
        return done.returncode, done.stdout + done.stderr, time.monotonic() - began

    def status(self):
        """What `dirpost status --json` says."""
        return json.loads(self.command("status", "--json")[1])

    def log(self):
        return self.log_file.read_text(errors="replace")

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def ends(self, sign=signal.SIGTERM, seconds=60):
        """Sends a signal, and waits for the end; the seconds that took."""
        began = time.monotonic()
        self.process.send_signal(sign)
        self.process.wait(timeout=seconds)
        return time.monotonic() - began

    def close(self):
        """Ends it, whatever it is doing."""
        if self.runs():
            self.process.kill()
            self.process.wait(timeout=120)
