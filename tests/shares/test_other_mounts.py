"""Mounts that are no kernel client's of a file server's: FUSE, overlay, bind, 9p."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import machine
from case import Case, slow
from machine import run
from shares import NFS4

SHORT = ('ready.settle = "2s"', 'watch.interval = "1s"')


class OtherMounts(Case):
    def folder(self, prefix):
        path = Path(tempfile.mkdtemp(prefix=prefix, dir="/srv"))
        path.chmod(0o777)
        self.addCleanup(run, "rm", "-rf", str(path), check=False)
        return path

    def mount_point(self, name):
        path = Path(f"/mnt/{name}")
        path.mkdir(exist_ok=True)
        self.addCleanup(run, "umount", "-l", str(path), check=False)
        return path

    def starts(self, *command):
        """A server or a mount in the foreground."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(self.kill, process)
        return process

    def kill(self, process):
        """Ends it, and all that it has started, unless that has happened already."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def is_known_for_a_share(self, dirpost):
        """What is taken for a local disk settles for 5 s only, which on a share is too short."""
        self.assertIn("network or unknown", dirpost.command("check")[1])

    def delivers(self, what, path, behind, breaks=None, mends=None):
        """Files made behind the mount are delivered and filed, also after its server was away."""
        dirpost = self.dirpost(path, *SHORT).starts()
        (behind / "folder").mkdir(exist_ok=True)
        (behind / "a.csv").write_text("a")
        (behind / "folder" / "b.csv").write_text("b")
        began = time.monotonic()
        self.waits("both to arrive", lambda: self.receiver.paths(dirpost.name) == {"a.csv", "folder/b.csv"}, 90)
        took = time.monotonic() - began
        self.waits("both to be filed", lambda: (behind / ".dirpost/done/folder/b.csv").exists()
                   and not (behind / "a.csv").exists())
        away = ""
        if breaks:
            breaks()
            (behind / "while-away.csv").write_text("c")
            time.sleep(15)
            mends()
            began = time.monotonic()
            self.waits("it to go on", lambda: "while-away.csv" in self.receiver.paths(dirpost.name), 150)
            away = f"; its server away for 15 s, then on within {time.monotonic() - began:.0f} s"
        self.assertEqual(self.receiver.repeats(dirpost.name), {})
        self.is_known_for_a_share(dirpost)
        print(f"    {what:28} known for a share; delivered within {took:.0f} s{away}", flush=True)
        return dirpost

    @slow
    def test_sshfs(self):
        behind, path = self.folder("sshfs-"), self.mount_point("sshfs")
        Path("/root/.ssh").mkdir(mode=0o700, exist_ok=True)
        if not Path("/root/.ssh/id_ed25519").exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
        Path("/root/.ssh/authorized_keys").write_bytes(Path("/root/.ssh/id_ed25519.pub").read_bytes())
        run("ssh-keygen", "-A")
        Path("/run/sshd").mkdir(exist_ok=True)

        def serve():
            self.server = self.starts("/usr/sbin/sshd", "-D", "-o", "StrictModes=no")
            self.waits("sshd to listen", lambda: run("ss", "-Hltn", "sport = :22") != "")

        def mount():
            run("sshfs", f"root@127.0.0.1:{behind}", str(path),
                "-o", "StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,reconnect,ServerAliveInterval=5")

        serve()
        mount()

        def breaks():
            self.kill(self.server)
            run("pkill", "-KILL", "-f", "sshd: root", check=False)

        self.delivers("sshfs -o reconnect", path, behind, breaks, serve)

    @slow
    def test_rclone_mount(self):
        """Read only: what is written goes through its cache, in which a reserved name is a file that is
        uploaded over the one that was moved there."""
        path, behind = self.rclone("--read-only")
        dirpost = self.dirpost(path, *SHORT, 'delivered.action = "keep"')
        dirpost.config.write_text(dirpost.config.read_text() + dirpost.local_state() + "\n")
        dirpost.starts()
        (behind / "folder").mkdir()
        for at in ("a.csv", "folder/b.csv"):
            (behind / at).write_text(at)
        began = time.monotonic()
        self.waits("both to arrive", lambda: self.receiver.paths(dirpost.name) == {"a.csv", "folder/b.csv"}, 90)
        took = time.monotonic() - began
        self.webdav_stops()
        (behind / "while-away.csv").write_text("c")
        time.sleep(15)
        self.webdav(behind)
        began = time.monotonic()
        self.waits("it to go on", lambda: "while-away.csv" in self.receiver.paths(dirpost.name), 150)
        self.assertEqual(self.receiver.repeats(dirpost.name), {})
        self.is_known_for_a_share(dirpost)
        print(f"    {'rclone mount --read-only':28} known for a share; with keep delivered within {took:.0f} s; "
              f"its server away for 15 s, then on within {time.monotonic() - began:.0f} s", flush=True)

    @slow
    def test_rclone_mount_that_can_be_written_to_is_refused_with_what_to_do(self):
        path, behind = self.rclone("--vfs-cache-mode", "writes")
        (behind / "a.csv").write_text("a")
        dirpost = self.dirpost(path, *SHORT).start()
        self.waits("it to say why", lambda: "mount it with --read-only" in dirpost.log())
        time.sleep(10)
        self.assertEqual(self.receiver.of(dirpost.name), [])
        self.assertEqual((behind / "a.csv").read_text(), "a")

    def rclone(self, *options):
        behind, path = self.folder("rclone-"), self.mount_point("rclone")
        self.webdav(behind)
        self.starts("rclone", "mount", ":webdav:", str(path), "--webdav-url", "http://127.0.0.1:8080",
                    *options, "--dir-cache-time", "2s", "--config", "/dev/null")
        self.waits("it to be mounted", lambda: os.path.ismount(path))
        return path, behind

    @slow
    def test_davfs2(self):
        behind, path = self.folder("davfs-"), self.mount_point("davfs")
        self.webdav(behind)
        Path("/etc/davfs2/davfs2.conf").write_text("use_locks 0\ndir_refresh 5\nfile_refresh 1\nask_auth 0\ndelay_upload 0\n")
        Path("/etc/fstab").touch()
        run("mount", "-t", "davfs", "-o", "uid=0,gid=0", "http://127.0.0.1:8080", str(path))
        self.delivers("davfs2", path, behind, self.webdav_stops, lambda: self.webdav(behind))

    def webdav(self, behind):
        self.dav = self.starts("rclone", "serve", "webdav", str(behind), "--addr", "127.0.0.1:8080",
                               "--dir-cache-time", "0s", "--config", "/dev/null")
        self.waits("WebDAV to be served", lambda: run("ss", "-Hltn", "sport = :8080") != "")

    def webdav_stops(self):
        self.kill(self.dav)

    @slow
    def test_overlayfs_over_nfs(self):
        share = self.share(NFS4)
        lower = share.mount(1)
        upper, work = self.folder("upper-"), self.folder("work-")
        path = self.mount_point("overlay")
        (share.server / "before.csv").write_text("before")
        run("mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "none", str(path))
        dirpost = self.dirpost(path, *SHORT).starts()
        self.waits("what was there to arrive", lambda: "before.csv" in self.receiver.paths(dirpost.name))
        (share.at(1) / "later.csv").write_text("later")
        began, limit = time.monotonic(), 150
        while "later.csv" not in self.receiver.paths(dirpost.name) and time.monotonic() - began < limit:
            time.sleep(0.5)
        seen = "later.csv" in self.receiver.paths(dirpost.name)
        self.is_known_for_a_share(dirpost)
        print(f"    {'overlayfs over NFS':28} known for a share; what lay there is delivered; what is made below it later "
              f"{'arrives after %.0f s' % (time.monotonic() - began) if seen else 'is not seen within %d s' % limit}", flush=True)
        self.assertTrue((share.server / "before.csv").exists(), "the lower folder is left as it was")

    @slow
    def test_a_bind_mount_of_an_nfs_share(self):
        share = self.share(NFS4)
        share.mount(1)
        path = self.mount_point("bind")
        run("mount", "--bind", str(share.at(1)), str(path))
        self.delivers("a bind mount of NFS 4.2", path, share.server, machine.nfs.stop, machine.nfs.start)

    @slow
    def test_9p(self):
        path = self.of_the_host("9p", "-t", "9p", "-o", "trans=virtio,version=9p2000.L", "one")
        self.delivers("9p", path, self.behind_on_the_host() / "9p")

    @slow
    def test_virtiofs(self):
        path = self.of_the_host("virtiofs", "-t", "virtiofs", "three")
        self.delivers("virtiofs", path, self.behind_on_the_host() / "virtiofs")

    def of_the_host(self, name, *mount):
        path = self.mount_point(name)
        try:
            run("modprobe", "-a", "9p", "9pnet_virtio", "virtiofs")
            run("mount", *mount, str(path))
        except RuntimeError as err:
            self.skipTest(f"the machine has no {name}: {err}")
        # A folder of its own: both show one folder of the host's.
        folder = path / name
        folder.mkdir()
        return folder

    def behind_on_the_host(self):
        """Another mount of the same folder of the host's, through which files are made."""
        behind = self.mount_point("9p-other")
        run("mount", "-t", "9p", "-o", "trans=virtio,version=9p2000.L", "two", str(behind))
        return behind
