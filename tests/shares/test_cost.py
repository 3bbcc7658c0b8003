"""What a scan asks of the file server: round trips and time, beside `find` on the same mount."""

import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from case import Case, slow
from machine import on_client, run
from shares import KINDS, SMB

FOLDERS, FILES = 100, 10_000
# Longer than all names take to come round (2 minutes): each scan reads the names of every folder.
OF_NAMES = 125
KEEP = ('delivered.action = "keep"', 'log.level = "debug"')


@dataclass(frozen=True)
class Scan:
    """One scan as its line in the log tells of it, and what was asked of the server for it."""

    over: int
    same: int
    looked: int
    trips: "Trips"
    seconds: float


class Cost(Case):
    @slow
    def test_a_scan_of_10000_files_asks_no_more_than_find_and_one_at_rest_far_less(self):
        for share in [self.share(kind) for kind in KINDS]:
            for folder in range(FOLDERS):
                (share.server / f"{folder:02}").mkdir()
                for number in range(FILES // FOLDERS):
                    (share.server / f"{folder:02}" / f"{number:02}.csv").write_bytes(b"content")
            names = self.find(share)
            stamps = self.find(share, "-printf", "%s %T@ %p\n")
            for threads in (1, 8):
                self.costs(share, threads, names, stamps)

    def find(self, share, *words):
        """What find asks for, mounted again so that nothing is remembered, and a second time."""
        path = share.mount(1)
        what = "find, sizes and times" if words else "find, names"
        cost = []
        for when in ("the first time", "again"):
            began, before = time.monotonic(), Trips.of(share)
            run("find", str(path), *words)
            cost.append(Trips.of(share) - before)
            self.says(share, f"{what}, {when}: {cost[-1]}, {time.monotonic() - began:.1f} s")
        share.unmount(1)
        return cost[0]

    def costs(self, share, threads, names, stamps):
        """What each depth of look costs, and a minute in which nothing happens."""
        share.mount(1)
        state = self.dirpost(share.at(1), *KEEP)
        lines = state.config.read_text() + state.local_state() + f"\nwatch.threads = {threads}\n"
        state.config.write_text(lines)
        # Nothing is to be sent: all there is counts as delivered.
        code, said, _ = state.command("once", "--skip-existing", seconds=300)
        self.assertEqual(code, 0, said)
        share.unmount(1)

        share.mount(1)
        before, began = Trips.of(share), time.monotonic()
        state.starts(seconds=300)
        first = Trips.of(share) - before
        self.says(share, f"threads {threads}, start and first look at everything: {first}, {time.monotonic() - began:.1f} s")
        # Times of folders are trusted once they have proven themselves.
        over = None
        while over is None or over.over < 0.9 * FOLDERS:  # the names of some come round in each scan
            over = self.next_scan(share, state)
        self.says(share, f"threads {threads}, passing over {over.over} folders: {over.trips}, {over.seconds:.1f} s")
        before = Trips.of(share)
        time.sleep(60)
        rest = Trips.of(share) - before
        self.says(share, f"threads {threads}, at rest, a minute: {rest}")
        state.process.send_signal(signal.SIGUSR1)
        looked = self.next_scan(share, state)
        self.assertGreaterEqual(looked.looked, FOLDERS)
        self.says(share, f"threads {threads}, looking at {looked.looked} folders and their files: {looked.trips}, {looked.seconds:.1f} s")
        state.config.write_text(lines + f'watch.interval = "{OF_NAMES}s"\n')
        state.process.send_signal(signal.SIGHUP)
        self.waits("it to be taken over", lambda: "configuration: read again" in state.log())
        self.next_scan(share, state)  # may have begun before
        read = self.next_scan(share, state, 2 * OF_NAMES)
        self.assertGreaterEqual(read.same, FOLDERS)
        self.says(share, f"threads {threads}, reading the names of {read.same} folders: {read.trips}, {read.seconds:.1f} s")
        state.ends()
        share.unmount(1)

        # A start asks for more than the scan, and every folder for its times beside its names.
        self.assertLess(first.count, stamps.count + 4 * FOLDERS)
        self.assertLess(looked.trips.count, stamps.count + 4 * FOLDERS)
        self.assertLess(read.trips.count, names.count + 4 * FOLDERS)
        self.assertLess(over.trips.count, 4 * FOLDERS)
        self.assertLess(rest.count, 12 * 4 * FOLDERS)

    def next_scan(self, share, dirpost, seconds=60):
        """The next scan that ends."""
        known = dirpost.log().count("folders passed over")
        before = Trips.of(share)
        # It begins when something is asked for.
        began = None
        deadline = time.monotonic() + seconds
        while dirpost.log().count("folders passed over") == known:
            if began is None and (Trips.of(share) - before).count:
                began = time.monotonic()
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        ended = time.monotonic()
        trips = Trips.of(share) - before
        found = re.findall(r"scan: (\d+) folders passed over, (\d+) read and as they were, (\d+) looked at, (\d+) failed",
                           dirpost.log())[known]
        self.assertEqual(found[3], "0")
        return Scan(*(int(count) for count in found[:3]), trips, ended - (began or ended))


class Trips(dict):
    """How many requests of each kind the client has sent for a mount."""

    @classmethod
    def of(cls, share):
        if share.kind is SMB:
            # Of all connections of the client's: nothing else uses SMB meanwhile.
            text = on_client(1, "cat", "/proc/fs/cifs/Stats")
            return cls(all=sum(int(count) for count in re.findall(r"^SMBs: (\d+)", text, re.M)))
        text = Path("/proc/self/mountstats").read_text()
        [section] = [part for part in text.split("\ndevice ") if f" on {share.at(1)} " in part]
        operations = section.split("per-op statistics")[1]
        # The number of operations, then of transmissions.
        return cls((name, int(count)) for name, count in re.findall(r"^\s+(\w+): \d+ (\d+) ", operations, re.M))

    def __sub__(self, before):
        return Trips((name, count - before.get(name, 0)) for name, count in self.items() if count != before.get(name, 0))

    @property
    def count(self):
        return sum(self.values())

    def __str__(self):
        most = sorted(self.items(), key=lambda item: -item[1])[:6]
        return f"{self.count} round trips" + (
            f" ({', '.join(f'{name} {count}' for name, count in most)})" if len(self) > 1 else "")
