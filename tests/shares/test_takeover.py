"""Two dirposts on two clients of one share: one works, the other stands by."""

import signal
import threading
import time

import machine
from case import Case, slow
from shares import NFS3, NFS4, SMB

SHORT = ('ready.settle = "1s"', 'watch.interval = "1s"')
# A dirpost sends this many files at a time.
WORKERS = 4


class Pair:
    """A dirpost on each client, and somebody who drops a file every half a second."""

    def __init__(self, case, share):
        self.case, self.share = case, share
        self.first = case.dirpost(share.at(1), *SHORT, name=f"first-{share.kind.word}")
        self.second = case.dirpost(share.at(2), *SHORT, name=f"second-{share.kind.word}")
        self.written, self.stop = [], threading.Event()
        case.addCleanup(self.stop.set)
        threading.Thread(target=self.drops, daemon=True).start()

    def drops(self):
        while not self.stop.wait(0.5):
            name = f"{len(self.written):05}.csv"
            (self.share.server / name).write_text(name)
            self.written.append(name)

    def sent_by(self, dirpost, since):
        return [one for one in self.case.receiver.of(dirpost.name) if one.at > since]

    def works(self, dirpost, seconds=90):
        """Waits until this one delivers; the seconds that took."""
        since = time.monotonic()
        return self.case.waits(f"{dirpost.name} to deliver", lambda: self.sent_by(dirpost, since), seconds)

    def stands_by(self, dirpost):
        self.case.waits(f"{dirpost.name} to stand by", lambda: "standby" in dirpost.log() or "holds the lock" in dirpost.log())

    def again(self):
        """How many files both have sent, or one twice."""
        return sum(self.case.receiver.repeats_of_all(self.first.name, self.second.name).values())

    def gap(self, since):
        """The longest time without a delivery by either."""
        times = [since] + sorted(one.at for one in self.case.receiver.of(self.first.name, self.second.name) if one.at > since)
        return max((after - before for before, after in zip(times, times[1:])), default=0)


class Takeover(Case):
    @slow
    def test_one_works_and_the_other_takes_over_after_a_kill_and_after_cuts_of_8_15_and_60_s(self):
        """Shorter and longer than the server's lease of 10 s. The first client's cable is cut."""
        pairs = [Pair(self, share) for share in self.shares(NFS4, SMB)]
        for pair in pairs:
            pair.first.starts()
        for pair in pairs:
            pair.works(pair.first)
            pair.second.start()
            pair.stands_by(pair.second)

        at = time.monotonic()
        for pair in pairs:
            pair.first.ends(signal.SIGKILL)
        for pair in pairs:
            pair.works(pair.second)
            self.says(pair.share, f"after SIGKILL: {pair.gap(at):.0f} s until the other delivers, {pair.again()} sent twice")
            self.assertLessEqual(pair.again(), WORKERS)
        for seconds in (8, 15, 60):
            # The one whose cable is cut has to hold the lock.
            for pair in pairs:
                if pair.second.runs():
                    pair.second.ends()
                if not pair.first.runs():
                    pair.first.start()
            for pair in pairs:
                pair.works(pair.first)
                pair.second.start()
            time.sleep(5)
            before = {pair: pair.again() for pair in pairs}
            at = time.monotonic()
            machine.pull_the_cable()
            time.sleep(seconds)
            machine.plug_the_cable()
            healed = time.monotonic()
            for pair in pairs:
                self.waits("files to go again", lambda: pair.sent_by(pair.first, healed) or pair.sent_by(pair.second, healed), 200)
            time.sleep(10)
            for pair in pairs:
                by = "the second" if pair.sent_by(pair.second, healed + 5) else "the first"
                both = pair.sent_by(pair.second, healed + 5) and pair.sent_by(pair.first, healed + 5)
                self.assertFalse(both, f"{pair.share}: both work after a cut of {seconds} s")
                again = pair.again() - before[pair]
                self.assertLessEqual(again, WORKERS, f"{pair.share}: cut for {seconds} s")
                self.says(pair.share, f"cut for {seconds} s: {pair.gap(at):.0f} s without a delivery, then {by} works; "
                                      f"{again} sent twice")
        for pair in pairs:
            pair.stop.set()
        for pair in pairs:
            self.waits("all to arrive", lambda: self.receiver.paths(pair.first.name, pair.second.name) >= set(pair.written), 120)
            self.says(pair.share, f"{len(pair.written)} files, none lost")

    def test_check_says_that_a_mount_with_nolock_or_nobrl_keeps_no_other_dirpost_out(self):
        for kind, options, word in ((NFS3, "", "nolock"), (SMB, "nobrl", "nobrl"), (NFS4, "", None), (SMB, "", None)):
            share = self.share(kind, options)
            share.mount(1)
            said = self.dirpost(share.at(1)).command("check")[1]
            if word:
                self.assertIn(f"is mounted with {word}: a lock in it is known to this machine alone", said)
            else:
                self.assertNotIn("a lock in it is known to this machine alone", said)
