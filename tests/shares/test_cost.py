"""What a scan asks of the file server."""

import re
import time
from pathlib import Path

from case import Case, slow
from dirpost import Dirpost
from machine import on_client, run
from shares import KINDS, SMB

FOLDERS, FILES = 100, 10_000


class Cost(Case):
    @slow
    def test_a_scan_of_10000_files_asks_no_more_than_find_and_one_at_rest_far_less(self):
        for share in [self.share(kind) for kind in KINDS]:
            for folder in range(FOLDERS):
                (share.server / f"{folder:02}").mkdir()
                for number in range(FILES // FOLDERS):
                    (share.server / f"{folder:02}" / f"{number:02}.csv").write_bytes(b"content")
            cost = {}
            for what, command in (("find, names", ["find", "."]), ("find, sizes and times", ["find", ".", "-printf", "%s %T@ %p\n"])):
                # Mounted again each time: nothing is cached.
                path = share.mount(1)
                cost[what] = self.measured(share, lambda: run("sh", "-c", f"cd {path} && " + " ".join(
                    f"'{word}'" for word in command) + " >/dev/null"))
                share.unmount(1)
            for threads in (1, 8):
                # All wait for an endpoint that is down: from then on only what is new is looked for.
                share.mount(1)
                dirpost = Dirpost(share.at(1), None, 'ready.settle = "1s"', f"watch.threads = {threads}")
                self.addCleanup(dirpost.close)
                cost[f"dirpost's first look at everything, threads {threads}"] = self.measured(
                    share, lambda: dirpost.starts(seconds=300))
                time.sleep(30)
                cost[f"dirpost at rest, a minute, threads {threads}"] = self.measured(share, lambda: time.sleep(60))
                dirpost.ends()
                share.unmount(1)
            for what, (trips, seconds) in cost.items():
                self.says(share, f"{what}: {trips} round trips, {seconds:.1f} s")
            look, find = cost["dirpost's first look at everything, threads 1"][0], cost["find, sizes and times"][0]
            self.assertLess(look, 2 * find + 1000)
            scans = 60 / 5
            self.assertLess(cost["dirpost at rest, a minute, threads 1"][0], scans * find / 4)

    def measured(self, share, work):
        """The round trips and the seconds that something takes."""
        before, began = round_trips(share), time.monotonic()
        work()
        return round_trips(share) - before, time.monotonic() - began


def round_trips(share):
    """How many requests the client has sent for this mount: /proc/self/mountstats, /proc/fs/cifs/Stats."""
    if share.kind is SMB:
        # Of all connections of the client: nothing else uses SMB meanwhile.
        text = on_client(1, "cat", "/proc/fs/cifs/Stats")
        return sum(int(count) for count in re.findall(r"^SMBs: (\d+)", text, re.M))
    text = Path("/proc/self/mountstats").read_text()
    [section] = [part for part in text.split("\ndevice ") if f" on {share.at(1)} " in part]
    operations = section.split("per-op statistics")[1]
    # proc: number of operations, then of transmissions.
    return sum(int(found) for found in re.findall(r"^\s+\w+: \d+ (\d+) ", operations, re.M))
