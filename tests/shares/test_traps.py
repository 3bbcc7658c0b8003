"""What shares do to files and names: stale handles, names of their own, sharing violations, options."""

import os
import time

from case import Case, slow
from receiver import digest
from shares import NFS3, NFS4, SMB

SHORT = ('ready.settle = "2s"', 'watch.interval = "1s"')


class Traps(Case):
    def dead_letters(self, share):
        return [path for path in (share.server / ".dirpost" / "dead-letter").rglob("*") if path.is_file()]

    def delivers(self, dirpost, *names, seconds=60):
        self.waits(f"{names} to arrive", lambda: self.receiver.paths(dirpost.name) >= set(names), seconds)

    @slow
    def test_what_the_other_client_deletes_and_renames_between_look_and_open_harms_nothing_else(self):
        shares = self.shares()
        dirposts = {share: self.dirpost(share.at(1), *SHORT).starts() for share in shares}
        for share in shares:
            contents = set()
            for number in range(60):
                contents.add(digest(f"content {number}".encode()))
                (share.at(2) / f"{number:02}.csv").write_text(f"content {number}")
            gone = set()
            # While they settle and while they are opened.
            for number in range(0, 60, 3):
                time.sleep(0.1)
                for name, change in ((f"{number:02}.csv", lambda path: path.unlink()),
                                     (f"{number + 1:02}.csv", lambda path: path.rename(path.with_suffix(".txt")))):
                    try:
                        change(share.at(2) / name)
                        if change.__code__.co_names[0] == "unlink":
                            gone.add(digest(f"content {number}".encode()))
                    except FileNotFoundError:
                        pass  # it has been delivered
            self.waits("all that was not deleted to arrive", lambda: {
                one.digest for one in self.receiver.of(dirposts[share].name)} >= contents - gone, 90)
            self.waits("all to be filed", lambda: not list(share.server.glob("*.*sv")) and not list(share.server.glob("*.txt")))
            self.assertEqual(self.dead_letters(share), [])
            self.assertEqual(self.receiver.repeats(dirposts[share].name), {})
            arrived = {one.digest for one in self.receiver.of(dirposts[share].name)}
            self.says(share, f"60 files, 20 deleted (of which {len(gone - arrived)} before they were sent), 20 renamed: none lost")

    @slow
    def test_a_stale_handle_is_a_file_that_is_gone_and_what_nfs_renames_is_not_sent(self):
        for share in self.shares(NFS4, NFS3):
            dirpost = self.dirpost(share.at(1), *SHORT).starts()
            path = share.at(1) / "removed.csv"
            path.write_text("removed while it is open")
            with path.open() as file:
                path.unlink()
                silly = [entry for entry in os.listdir(share.at(1)) if entry.startswith(".nfs")]
                self.assertEqual(len(silly), 1, "this client has renamed it instead of removing it")
                # A file that is replaced on the server is stale for whoever holds it.
                for number in range(10):
                    (share.server / "replaced.csv").write_text(f"version {number}")
                    time.sleep(0.4)
                    os.unlink(share.server / "replaced.csv") if number < 9 else None
                self.delivers(dirpost, "replaced.csv")
                time.sleep(3)
                file.read()
            # One that was deleted early may have been sent before; what went last must be whole.
            self.assertEqual(self.receiver.paths(dirpost.name), {"replaced.csv"})
            self.assertEqual(self.receiver.of(dirpost.name)[-1].digest, digest(b"version 9"))
            self.assertEqual(self.dead_letters(share), [])
            self.says(share, f"{silly[0]} was left alone; the file that was replaced 9 times arrived")

    @slow
    def test_a_writer_that_denies_sharing_is_waited_for(self):
        share = self.share(SMB)
        share.mount(1)
        dirpost = self.dirpost(share.at(1), *SHORT).starts()
        with Denying(share, "denied.csv") as writer:
            writer.write(b"the first half, ")
            (share.server / "other.csv").write_text("other")
            self.delivers(dirpost, "other.csv")
            time.sleep(10)  # far longer than the settle time
            self.assertEqual(self.receiver.paths(dirpost.name), {"other.csv"})
            said = [line for line in dirpost.log().splitlines() if "denied.csv" in line]
            writer.write(b"and the second")
        closed = time.monotonic()
        self.delivers(dirpost, "denied.csv", seconds=120)
        [one] = [one for one in self.receiver.of(dirpost.name) if one.path == "denied.csv"]
        self.assertEqual(one.digest, digest(b"the first half, and the second"))
        self.assertEqual(self.dead_letters(share), [])
        self.says(share, f"denied for 10 s, then delivered whole {one.at - closed:.1f} s after the close; the log: "
                         f"{said[0].split('] ', 1)[-1] if said else 'nothing'}")

    @slow
    def test_names_that_a_share_maps_and_names_that_differ_by_case_all_arrive(self):
        names = {"a:b.csv": b"colon", "question?.csv": b"question", "trailing.": b"dot", "space ": b"space",
                 "back\\slash.csv": b"backslash", "ä.csv": b"umlaut", "%41.csv": b"percent", "new\nline.csv": b"newline",
                 "Case.csv": b"upper", "case.csv": b"lower", "x" * 250 + ".csv": b"long"}
        for share in self.shares():
            dirpost = self.dirpost(share.at(1), *SHORT).starts()
            for name, content in names.items():
                (share.server / name).write_bytes(content)
            (share.server / os.fsdecode(b"latin-\xe4.csv")).write_bytes(b"latin")
            wanted = {digest(content) for content in [*names.values(), b"latin"]}
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not wanted <= {one.digest for one in self.receiver.of(dirpost.name)}:
                time.sleep(0.5)
            got = {one.digest for one in self.receiver.of(dirpost.name)}
            missing = sorted(name for name, content in names.items() if digest(content) not in got)
            if digest(b"latin") not in got:
                missing.append("latin")
            renamed = sorted(self.receiver.paths(dirpost.name) - set(names))
            lost = [name for name in names if not (share.server / name).exists()
                    and digest(names[name]) not in got]
            self.says(share, f"{len(wanted) - len(missing)} of {len(wanted)} arrive; not: {missing}; under other names: "
                             f"{[name[:20] for name in renamed]}")
            self.assertEqual(lost, [], "nothing leaves its place that has not arrived")
            self.assertEqual(self.dead_letters(share), [])
            if share.kind is not SMB:
                self.assertEqual(missing, [])

    @slow
    def test_a_file_is_delivered_and_filed_whatever_the_mount_shows_of_modes_and_owners(self):
        for kind, options in ((SMB, "dir_mode=0777,file_mode=0777"), (SMB, "forceuid,forcegid,uid=1000,gid=1000"), (SMB, "noperm"),
                              (SMB, "nobrl"), (SMB, "cache=none"), (SMB, "noserverino"), (NFS4, "noac"), (NFS4, "nosuid,noexec,nodev"),
                              (NFS4, "lookupcache=none"), (NFS4, "soft"), (NFS3, "actimeo=1")):
            share = self.share(kind, options)
            share.mount(1)
            dirpost = self.dirpost(share.at(1), *SHORT).start()
            (share.server / "folder").mkdir()
            (share.server / "folder" / "a.csv").write_text("a")
            began = time.monotonic()
            try:
                self.delivers(dirpost, "folder/a.csv", seconds=40)
                self.waits("it to be filed", lambda: (share.server / ".dirpost" / "done" / "folder" / "a.csv").exists())
                took = f"delivered and filed within {time.monotonic() - began:.0f} s"
            except AssertionError:
                took = "NOT delivered"
            warnings = [line.split("] ", 1)[-1][:100] for line in dirpost.log().splitlines() if " WARN " in line or " ERROR " in line]
            self.says(share, f"{options}: {took}; the log warns: {warnings or 'of nothing'}")
            self.assertNotEqual(took, "NOT delivered", options)
            dirpost.ends()


class Denying:
    """A program that has a file open over SMB and lets nobody else open it, as many on Windows do."""

    def __init__(self, share, name):
        from samba import credentials, param
        from samba.samba3 import libsmb_samba_internal as libsmb
        from samba.samba3 import param as param3
        loaded = param.LoadParm()
        loaded.load("/etc/samba/smb.conf")
        who = credentials.Credentials()
        who.guess(loaded)
        who.set_username("share")
        who.set_password("share")
        context = param3.get_context()
        context.load("/etc/samba/smb.conf")
        self.connection = libsmb.Conn("127.0.0.1", "srv", lp=context, creds=who)
        # MS-SMB2 2.2.13: all access, nothing shared, made or overwritten.
        self.file = self.connection.create(f"{share.name}\\{name}", DesiredAccess=0x001f01ff, ShareAccess=0,
                                           CreateDisposition=5)
        self.offset = 0

    def write(self, data):
        self.connection.write(self.file, data, self.offset)
        self.offset += len(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close(self.file)
