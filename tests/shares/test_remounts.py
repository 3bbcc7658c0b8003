"""The share is unmounted and comes back, with `keep`: nothing that was sent is sent again."""

import os
import subprocess
import time

import machine
from case import Case, slow
from shares import SMB
from test_cost import Trips

KEEP = ('ready.settle = "2s"', 'watch.interval = "1s"', 'delivered.action = "keep"')


class Remounts(Case):
    def test_nothing_of_200_delivered_files_is_sent_again_when_their_share_is_mounted_again(self):
        self.remounts(200)

    @slow
    def test_nothing_of_2000_delivered_files_is_sent_again_when_their_share_is_mounted_again(self):
        self.remounts(2_000)

    def remounts(self, files):
        """Unmounted lazily, for the lock is held open; then again with new device and inode numbers."""
        shares = self.shares()
        dirposts, before = {}, {}
        for share in shares:
            for number in range(files):
                at = share.server / f"folder{number % 20}" / f"{number:04}.csv"
                at.parent.mkdir(exist_ok=True)
                at.write_bytes(b"content")
            dirposts[share] = self.dirpost(share.at(1), *KEEP, name=share.kind.word)
            dirposts[share].start()
            before[share] = Trips.of(share)
        for share in shares:
            # A file takes some 13 round trips on NFS and 27 on SMB, and an emulated machine that is not
            # alone 10 ms and more for each.
            self.waits("all to arrive", lambda: len(self.receiver.of(share.kind.word)) >= files, 900 + files, step=2)
            arrived = [one.at for one in self.receiver.of(share.kind.word)]
            trips = Trips.of(share) - before[share]
            self.says(share, f"{files} files within {max(arrived) - min(arrived):.0f} s, for each "
                             f"{trips.count / files:.1f} round trips: {trips}")
        self.assertEqual(self.receiver.repeats(*(one.name for one in dirposts.values())), {})

        for share in shares:
            share.unmount(1)
        self.notice(shares, dirposts, 1)
        for share in shares:
            share.mount(1)
        self.come_back(shares, files, 1)

        before = {share: numbers(share) for share in shares}
        for share in shares:
            if share.kind is SMB:
                # As long as anything is open below a mount, another of the same share is the same to this
                # client, and its root with another inode number a stale handle for ever.
                dirposts[share].ends()
            share.unmount(1)
            share.unmount(2)
        self.notice([share for share in shares if share.kind is not SMB], dirposts, 2)
        machine.nfs.stop()
        machine.smb.stop()
        for share in shares:
            # Another disk of the server's, as far as a client can tell.
            copy = share.server.with_name(share.name + "-copy")
            subprocess.run(["cp", "-a", share.server, copy], check=True)
            share.server.rename(share.server.with_name(share.name + "-old"))
            copy.rename(share.server)
            self.addCleanup(subprocess.run, ["rm", "-rf", f"{share.server}-old"], check=True)
        machine.nfs.start()
        machine.smb.start()
        for share in shares:
            # Takes the device number that the share had.
            other = self.share(share.kind, "nosharecache" if share.kind.server == "nfs" else "")
            other.mount(1)
            share.mount(1)
            share.mount(2)
            if share.kind is SMB:
                dirposts[share].start()
        self.come_back(shares, files, 2)
        for share in shares:
            (device, inodes), (device_now, inodes_now) = before[share], numbers(share)
            self.assertFalse(inodes & inodes_now, "inode numbers must be others")
            self.says(share, f"device {device} then {device_now}, {len(inodes)} inode numbers all changed; "
                             f"{files} files, 2 remounts, sent again: 0")

    def notice(self, shares, dirposts, times):
        for share in shares:
            self.waits("it to notice", lambda: dirposts[share].log().count("waiting for it, nothing is forgotten") >= times, 240)

    def come_back(self, shares, files, times):
        """Each goes on with a new file; all that was there is looked at, and nothing of it sent."""
        began = time.monotonic()
        for share in shares:
            (share.at(2) / f"new{times}.csv").write_bytes(b"new")
        for share in shares:
            self.waits("the new file to arrive", lambda: f"new{times}.csv" in self.receiver.paths(share.kind.word), 300)
        took = time.monotonic() - began
        time.sleep(5)  # several scans
        for share in shares:
            self.assertEqual(len(self.receiver.of(share.kind.word)), files + times)
            self.says(share, f"back, and a new file delivered within {took:.0f} s")


def numbers(share):
    """The device number, and the inode numbers of a folder."""
    folder = share.at(1) / "folder0"
    return os.stat(folder).st_dev, {entry.inode() for entry in os.scandir(folder)}
