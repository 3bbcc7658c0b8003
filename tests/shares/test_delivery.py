"""A file that another client makes: notifications are silent, and dirpost delivers it."""

import os
import subprocess
import time

from case import Case
from receiver import digest


class Delivery(Case):
    def test_inotify_hears_nothing_of_another_clients_file_and_dirpost_delivers_it(self):
        """With the options and times of a plain configuration, and with short times beside it."""
        shares = self.shares()
        default, short, watchers = {}, {}, {}
        for share in shares:
            (share.at(2) / "default").mkdir()
            (share.at(2) / "short").mkdir()
            self.waits("the folders", lambda: (share.at(1) / "short").is_dir())
            default[share] = self.dirpost(share.at(1) / "default").starts()
            short[share] = self.dirpost(share.at(1) / "short", 'ready.settle = "2s"',
                                        'watch.interval = "1s"').starts()
            watchers[share] = Inotify(share.at(1) / "default")
            self.addCleanup(watchers[share].close)
        for share in shares:
            # What this client does itself it is told of: the watch works.
            (share.at(1) / "default" / ".own").touch()
            self.waits("inotify to tell of the client's own file", lambda: ".own" in watchers[share].told())
        time.sleep(10)  # the folders are looked at for a while before anything happens

        closed, listed = {}, {}
        for share in shares:
            path = share.at(2) / "default" / "a.csv"
            path.write_bytes(b"x" * 100_000)
            closed[share] = time.monotonic()
            listed[share] = self.waits(
                "a listing to show it whole", lambda: sizes(share.at(1) / "default").get("a.csv") == 100_000)
        for share in shares:
            path = share.at(2) / "short"
            took = []
            for number in range(8):
                (path / f"{number}.csv").write_bytes(b"x" * 100_000)
                at = time.monotonic()
                self.waits("it to arrive", lambda: f"{number}.csv" in self.receiver.paths(short[share].name))
                took += [one.at - at for one in self.receiver.of(short[share].name) if one.path == f"{number}.csv"]
                time.sleep(0.3)  # so that files come at all moments between two scans
            # A scan may come right after the close, or a whole interval later.
            self.assertGreater(min(took), 2.0)
            self.says(share, f"settle 2 s, interval 1 s: from the close to the POST {min(took):.1f} to {max(took):.1f} s")
        for share in shares:
            self.waits("it to arrive", lambda: self.receiver.of(default[share].name), 300)
            [one] = self.receiver.of(default[share].name)
            took = one.at - closed[share]
            self.assertEqual(one.digest, digest(b"x" * 100_000))
            self.assertGreater(took, 60.0)
            self.assertNotIn("a.csv", watchers[share].told())
            self.says(share, f"settle 60 s, interval 5 s (the defaults): a listing shows the file {listed[share]:.1f} s "
                             f"after its close, its POST is through after {took:.1f} s; inotify told of nothing")


def sizes(folder):
    return {entry.name: os.stat(entry.path).st_size for entry in os.scandir(folder)}


class Inotify:
    """inotifywait on a folder, for all that a writer does (not for what a reader does)."""

    def __init__(self, folder):
        self.process = subprocess.Popen(["inotifywait", "-m", "-q", "-e", "create,modify,attrib,close_write,moved_to", str(folder)], stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b""
        time.sleep(1)  # until it watches; whoever is too early sees no own file either

    def told(self):
        """What it has told of so far."""
        self.text += self.process.stdout.read() or b""
        return self.text.decode()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
