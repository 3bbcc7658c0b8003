"""The file server goes away in the middle of everything, and comes back."""

import re
import signal
import time

import machine
from case import Case, slow
from receiver import digest
from shares import NFS3, NFS4, SMB

SHORT = ('ready.settle = "2s"', 'watch.interval = "1s"')
LARGE = 4 << 20
AWAY = 60  # seconds
# A dirpost sends this many files at a time.
WORKERS = 4
# What was accepted so many seconds before is in the journal on the server's disk.
KNOWN = 3


def content(path):
    return f"this is {path}\n".encode() * 50


def small(count):
    """Names in 10 folders."""
    return [f"folder{number % 10}/{number:04}.csv" for number in range(count)]


class Work:
    """What the dirposts of one share are busy with when it goes away."""

    def __init__(self, case, share):
        self.case, self.share = case, share
        self.written = {}
        # Each with a folder of its own: one scans folders and files many files away; one is in the
        # middle of a file that takes 32 s at this rate; one has its state on a local disk, and one is
        # to be ended while the share hangs.
        self.moving = self.on("moving")
        self.sending = self.on("sending", 'send.max_rate = "128 KiB"', 'send.workers = 1')
        self.local = self.on("local", local=True)
        self.ended = self.on("ended")
        self.all = [self.moving, self.sending, self.local, self.ended]
        self.write("local", small(5))

    def fill(self):
        """What is on its way when the share goes away."""
        self.write("moving", small(60))
        self.write("ended", small(30))

    def fill_large(self):
        self.written["sending"] = {"large.bin": b"x" * LARGE}
        (self.share.server / "sending" / "large.bin").write_bytes(b"x" * LARGE)

    def on(self, folder, *settings, local=False):
        (self.share.server / folder).mkdir()
        made = self.case.dirpost(self.share.at(1) / folder, *SHORT, *settings, name=f"{folder}-{self.share.kind.word}")
        if local:
            made.config.write_text(made.config.read_text() + made.local_state() + "\n")
        return made

    def write(self, folder, paths):
        for path in paths:
            at = self.share.server / folder / path
            at.parent.mkdir(exist_ok=True)
            at.write_bytes(content(path))
            self.written.setdefault(folder, {})[path] = content(path)

    def arrived(self, dirpost):
        return self.case.receiver.paths(dirpost.name)

    def is_in_the_middle(self):
        """Some have been filed, and some wait for an answer."""
        held = self.case.receiver.held
        return held.count(self.moving.name) >= WORKERS and held.count(self.ended.name) >= WORKERS

    def is_sending(self):
        return (self.sending.name, "large.bin") in self.case.receiver.begun

    def over(self, dirpost):
        """All has arrived, and lies in `done`."""
        folder = dirpost.name.split("-")[0]
        state = dirpost.files / "state" if dirpost is self.local else self.share.server / folder / ".dirpost"
        written = self.written[folder]
        return self.arrived(dirpost) >= set(written) and all((state / "done" / path).exists() for path in written)

    def check(self, dirpost, since):
        """Nothing lost, nothing torn, nothing left, and nothing sent twice but what was accepted after
        `since`; how much that is."""
        folder = dirpost.name.split("-")[0]
        for one in self.case.receiver.of(dirpost.name):
            self.case.assertEqual(one.digest, digest(self.written[folder][one.path]), one.path)
        left = [path for path in self.written[folder] if (self.share.server / folder / path).exists()]
        self.case.assertEqual(left, [])
        again = self.case.receiver.repeats(dirpost.name)
        first = {}
        for one in self.case.receiver.of(dirpost.name):
            first.setdefault(one.path, one.at)
        known = [path for path in again if first[path] < since]
        self.case.assertEqual(known, [], f"{self.share}: {dirpost.name}: sent again")
        return sum(again.values())


class Outages(Case):
    @slow
    def test_dirpost_goes_on_by_itself_after_the_server_was_stopped_for_60_s(self):
        def stop():
            machine.nfs.stop()
            machine.smb.stop()

        def start():
            machine.nfs.start()
            machine.smb.start()

        self.goes_on(stop, start)

    @slow
    def test_dirpost_goes_on_by_itself_after_the_cable_was_pulled_for_60_s(self):
        self.goes_on(machine.pull_the_cable, machine.plug_the_cable)

    def goes_on(self, breaks, mends):
        works = [Work(self, share) for share in self.shares()]
        for work in works:
            for dirpost in (work.local, work.ended, work.moving, work.sending):
                dirpost.starts()
                if dirpost is work.local:
                    self.waits("what is there to be filed", lambda: work.over(work.local))
        self.receiver.hold_after = 10
        for work in works:
            work.fill()
        self.waits("all to be in the middle of their work", lambda: all(work.is_in_the_middle() for work in works), 120)
        for work in works:
            work.fill_large()
        self.waits("the large ones to be on their way", lambda: all(work.is_sending() for work in works), 60)
        before = {work: len(work.arrived(work.moving)) for work in works}
        for work in works:
            self.assertEqual(work.arrived(work.sending), set())
        self.receiver.release()
        time.sleep(0.3)  # some of them are written down and moved
        broken = time.monotonic()  # before: to stop a server takes seconds
        breaks()
        time.sleep(35)  # that a look hangs is said after 30 s
        told, ended = {}, {}
        for work in works:
            code, text, took = work.local.command("status")
            self.assertLess(took, 10, text)
            told[work] = (took, text.splitlines()[0])
        stopped = [one for work in works for one in (work.local, work.ended)]
        for dirpost in stopped:
            dirpost.process.send_signal(signal.SIGTERM)
        for dirpost in stopped:
            # Finishing what is in flight takes up to 10 s. Then the kernel may keep the process, as one
            # that is dead, until the server has heard that its files are closed and its lock is given up.
            self.waits("it to stop", lambda: re.search("stopping$|stopped with", dirpost.log(), re.M)
                       or not dirpost.runs(), 30)
        time.sleep(3)
        for work in works:
            ended[work] = [dirpost.name.split("-")[0] for dirpost in (work.local, work.ended) if dirpost.runs()]
            self.assertTrue(work.moving.runs() and work.sending.runs())
            # One that is at rest and has its state elsewhere leaves nothing for the kernel to wait for.
            self.assertNotIn("local", ended[work], str(work.share))
        time.sleep(max(0, broken + AWAY - time.monotonic()))
        mends()
        mended = time.monotonic()
        for dirpost in stopped:
            dirpost.process.wait(timeout=120)
            dirpost.start()
        back = {}
        for work in works:
            self.waits("what was under way to be over", lambda: all(work.over(one) for one in work.all), 600)
            back[work] = time.monotonic() - mended
        for work in works:
            # A process that ends meanwhile leaves what is not on the server's disk, as at a power cut:
            # what was accepted in the last moments. One that goes on leaves nothing.
            again = work.check(work.ended, since=broken - KNOWN)
            for dirpost in (work.moving, work.sending, work.local):
                work.check(dirpost, since=float("inf"))
            kept = "the process is gone at once" if not ended[work] else "the process is gone when the server is back"
            self.says(work.share, f"status (state.dir on a local disk) during the hang: {told[work][0]:.1f} s, \"{told[work][1]}\"")
            self.says(work.share, f"SIGTERM during the hang: stopped within 30 s, {kept} ({', '.join(ended[work]) or 'both'})")
            self.says(work.share, f"{before[work]} of 60 files had arrived when it began; all that was under way was over "
                                  f"{back[work]:.0f} s after its end; sent again: 0, and {again} by the one that was ended")

    @slow
    def test_nothing_is_lost_where_what_was_asked_for_was_done_and_its_answer_lost(self):
        """Operations are done, their answers vanish, and the server is started again without its memory
        of them: what a client repeats is answered ENOENT or EEXIST. A soft mount gives up instead."""
        soft = "soft,timeo=10,retrans=1"
        shares = [self.share(kind, options) for kind, options in
                  ((NFS4, ""), (NFS3, ""), (SMB, ""), (NFS4, soft), (NFS3, soft))]
        names = small(80)
        dirposts = {}
        for share in shares:
            share.mount(1)
            for folder, action in (("moved", "move"), ("deleted", "delete")):
                for path in names:
                    at = share.server / folder / path
                    at.parent.mkdir(parents=True, exist_ok=True)
                    at.write_bytes(content(path))
                dirposts[share, folder] = self.dirpost(share.at(1) / folder, *SHORT, f'delivered.action = "{action}"')
        for round in range(1, 5):
            self.receiver.hold_after = 20 * (round - 1) + 5
            if round == 1:
                for dirpost in dirposts.values():
                    dirpost.start()
            self.waits("all to be in the middle of their work", lambda: all(
                self.receiver.held.count(one.name) >= WORKERS for one in dirposts.values()), 240)
            self.receiver.release()
            time.sleep(0.2 * round)
            machine.lose_answers()
            time.sleep(5)
            machine.nfs.stop()
            machine.smb.stop()
            machine.answer_again()
            self.receiver.hold_after = 20 * round + 5 if round < 4 else None
            machine.nfs.start()
            machine.smb.start()
        for (share, folder), dirpost in dirposts.items():
            soft_or_not = "soft" if "soft" in share.options else "hard" if share.kind is not SMB else ""
            self.waits("all to be filed", lambda: not any((share.server / folder / path).exists() for path in names), 240)
            arrived = self.receiver.of(dirpost.name)
            self.assertEqual({one.path for one in arrived}, set(names))
            for one in arrived:
                self.assertEqual(one.digest, digest(content(one.path)))
            state = share.server / folder / ".dirpost"
            if folder == "moved":
                self.waits("done to hold all", lambda: {
                    str(path.relative_to(state / "done")) for path in (state / "done").rglob("*.csv")} == set(names))
            dead = [path for path in (state / "dead-letter").rglob("*") if path.is_file()]
            self.assertEqual(dead, [])
            again = sum(self.receiver.repeats(dirpost.name).values())
            self.assertEqual(again, 0, f"{share} {soft_or_not} {folder}: {self.receiver.repeats(dirpost.name)}")
            self.says(share, f"{soft_or_not} {folder}: {len(names)} files, 4 restarts without answers, none lost, sent again: 0")
