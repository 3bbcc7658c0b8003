"""Mounts that show a mode or an owner that no call can change: FAT, and SMB with such options."""

import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from case import Case, slow
from machine import run
from receiver import digest
from shares import SMB

# Not less: the client of SMB closes a file a second after the program did, which moves its mtime; and an emulated
# machine may stand still for a few seconds.
SETTINGS = ('ready.settle = "10s"', 'watch.interval = "1s"', 'watch.rewrites = "1h"', 'check.max_size = "1 KiB"',
            'log.level = "debug"')
ROUNDS = 12


class ShownModes(Case):
    @slow
    def test_on_fat_nothing_is_missed_lost_or_sent_again_by_any_way_of_filing(self):
        """FAT keeps times of two seconds and neither modes nor owners, and has no inode numbers of its own."""
        for options, shown in (("umask=000", "mode 0777"), ("uid=1000", "as its owner and mode 0755")):
            fat = Fat(self, options)
            works = self.works(fat.path, options)
            took = self.new_files_arrive(works)
            for work in works:
                self.assertEqual({(over, failed) for over, _, _, failed in work.scans()}, {("0", "0")})
            names = max(int(read) for work in works for _, read, _, _ in work.scans())
            self.assertEqual(names, 2, "a scan reads the names of both folders, and looks at no file")
            # As if a stick were pulled and put in again while all run.
            fat.unmount("-l")
            self.notice(works)
            fat.mount()
            self.go_on(works, "mounted-again.csv")
            # And once with nothing open there: all inode numbers are made again.
            for work in works:
                work.dirpost.ends()
            fat.unmount()
            fat.mount()
            for work in works:
                work.dirpost.starts()
            self.go_on(works, "started-again.csv")
            self.is_said_once(works, shown)
            self.assertIn("on a local disk", works[0].dirpost.command("check")[1])
            self.tells(f"FAT, {options}", shown, works, took)
            for work in works:
                work.dirpost.ends()

    @slow
    def test_on_fat_that_is_mounted_with_another_time_zone_each_kept_file_is_another_version_once(self):
        """FAT keeps local time, and a file is known by its times: docs/shares.md says how to mount it."""
        fat = Fat(self, "umask=000")
        work = Work(self, fat.path, "keep", "elsewhere", "zone")
        work.write("a.csv", "folder/b.csv")
        work.dirpost.starts()
        work.is_done()
        # As long as anything is open there, another mount of it is the same one with the same options.
        work.dirpost.ends()
        fat.unmount()
        fat.mount("time_offset=60")
        work.dirpost.starts()
        self.waits("both to arrive once more", lambda: len(self.receiver.of(work.name)) == 4)
        time.sleep(15)  # the settle time and several scans
        keys = {(one.path, one.key) for one in self.receiver.of(work.name)}
        self.assertEqual((len(self.receiver.of(work.name)), len(keys)), (4, 4))
        print("    FAT          mounted with another time zone: each of 2 kept files sent once more, under a key of its own",
              flush=True)

    @slow
    def test_on_smb_that_shows_one_mode_or_owner_nothing_is_lost_or_sent_again_by_any_way_of_filing(self):
        for options, shown in (("dir_mode=0777,file_mode=0777", "mode 0777"),
                               ("forceuid,forcegid,uid=1000,gid=1000", "as its owner and mode 0755")):
            share = self.share(SMB, options)
            works = self.works(share.mount(1), options.split(",")[0].replace("forceuid", "uid"))
            took = self.new_files_arrive(works)
            share.unmount(1)
            self.notice(works)
            share.mount(1)
            self.go_on(works, "mounted-again.csv")
            self.is_said_once(works, shown)
            self.tells(f"SMB 3.1.1, {options}", shown, works, took)
            for work in works:
                work.dirpost.ends()

    def works(self, path, word):
        """One for each way of filing with the state on the mount and elsewhere, with two files to deliver and
        one to condemn."""
        works = [Work(self, path, action, where, word) for action in ("move", "delete", "keep")
                 for where in ("here", "elsewhere")]
        for work in works:
            work.write("a.csv", "folder/b.csv")
            work.dirpost.starts()
        for work in works:
            work.is_done()
            # Its reason lies there first.
            self.waits("what is too large to be condemned", lambda: (work.state / "dead-letter/bad.csv").exists())
            self.assertTrue((work.state / "dead-letter/bad.csv.reason.json").exists())
            self.assertEqual((work.state / "dead-letter/bad.csv").stat().st_size, 2_000)
        return works

    def new_files_arrive(self, works):
        """New files at all moments of two seconds; how long each took."""
        closed = {}
        for number in range(ROUNDS):
            for work in works:
                work.write(f"folder/new{number}.csv")
                closed[work, f"folder/new{number}.csv"] = time.monotonic()
            time.sleep(2.3)
        for work in works:
            work.is_done()
        took = [one.at - closed[work, one.path] for work in works for one in self.receiver.of(work.name)
                if (work, one.path) in closed]
        self.assertLess(max(took), 120, "all names come round every 2 minutes")
        return took

    def notice(self, works):
        for work in works:
            self.waits("it to notice", lambda: "waiting for it, nothing is forgotten" in work.dirpost.log())

    def go_on(self, works, name):
        for work in works:
            work.write(name)
        for work in works:
            work.is_done()

    def is_said_once(self, works, shown):
        """What the mount shows, with what it means, over all looks, mounts and starts."""
        for work in works:
            said = [line for line in work.dirpost.log().splitlines() if "whatever is set" in line]
            self.assertEqual(len(said), 1, said)
            self.assertIn(shown, said[0])
            self.assertIn("which lies elsewhere" if work.where == "elsewhere" else "state.dir on a local disk", said[0])

    def tells(self, mount, shown, works, took):
        print(f"    {mount}: move, delete and keep, with the state on it and elsewhere, each sent {len(works[0].written)} files "
              f"once, over remounts; said once: it shows \"{shown}\"; a new file arrives {min(took):.1f} to "
              f"{max(took):.1f} s after its close", flush=True)


class Fat:
    """A FAT file system in a file, on a loop device."""

    def __init__(self, case, options):
        self.options = options
        folder = Path(tempfile.mkdtemp(prefix="fat-", dir="/srv"))
        case.addCleanup(run, "rm", "-rf", str(folder), check=False)
        self.image, self.path = folder / "image", folder / "mounted"
        self.path.mkdir()
        with self.image.open("wb") as image:
            image.truncate(64 << 20)
        run("modprobe", "-a", "loop", "vfat")
        run("mkfs.vfat", "-F", "32", str(self.image))
        self.mount()
        case.addCleanup(run, "umount", "-l", str(self.path), check=False)

    def mount(self, *more):
        run("mount", "-t", "vfat", "-o", ",".join(["loop", self.options, *more]), str(self.image), str(self.path))

    def unmount(self, *how):
        run("umount", *how, str(self.path))


class Work:
    """One dirpost on a folder of such a mount, and what it is to deliver."""

    def __init__(self, case, mounted, action, where, word):
        self.case, self.where, self.action, self.written = case, where, action, set()
        self.name = f"{action}-{where}-{word}".replace("=", "-")
        self.folder = mounted / self.name
        (self.folder / "folder").mkdir(parents=True)
        (self.folder / "bad.csv").write_bytes(b"x" * 2_000)
        self.dirpost = case.dirpost(self.folder, *SETTINGS, f'delivered.action = "{action}"', name=self.name)
        self.state = self.folder / ".dirpost"
        if where == "elsewhere":
            self.dirpost.config.write_text(self.dirpost.config.read_text() + self.dirpost.local_state() + "\n")
            self.state = self.dirpost.files / "state"

    def write(self, *paths):
        for path in paths:
            (self.folder / path).write_text(path)
            self.written.add(path)

    def is_done(self):
        """Each has arrived once, whole, and lies where it is to lie."""
        self.case.waits(f"{self.name}: all to arrive", lambda: self.case.receiver.paths(self.name) >= self.written)
        arrived = self.case.receiver.of(self.name)
        self.case.assertEqual(sorted(one.path for one in arrived), sorted(self.written), self.tale(arrived))
        for one in arrived:
            self.case.assertEqual(one.digest, digest(one.path.encode()))
        self.case.waits(f"{self.name}: all to be filed", lambda: all(self.is_filed(path) for path in self.written))

    def tale(self, arrived):
        """What arrived more than once, and what the log says of it."""
        times = Counter(one.path for one in arrived)
        twice = [path for path, count in times.items() if count > 1]
        lines = [f"{one.path}: {one.size} bytes, {one.key}" for one in arrived if one.path in twice]
        return "\n".join([self.name, *lines, *(line for line in self.dirpost.log().splitlines()
                                               if any(path in line for path in twice))])

    def is_filed(self, path):
        lies_there, is_in_done = (self.folder / path).exists(), (self.state / "done" / path).exists()
        return (lies_there, is_in_done) == (self.action == "keep", self.action == "move")

    def scans(self):
        """What each scan has done: folders passed over, of which the names were read, looked at, failed."""
        return re.findall(r"scan: (\d+) folders passed over, (\d+) read and as they were, (\d+) looked at, (\d+) failed",
                          self.dirpost.log())
