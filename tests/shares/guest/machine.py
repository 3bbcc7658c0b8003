"""The machine: a file server and two clients of it, each with a network and a host name of its own.

A client's mounts are made from its network namespace, so the two have connections, identities and
caches of their own, as two hosts would. Programs run beside the server and see all mounts; the
cable that can be pulled carries nothing but the first client's traffic with the file server.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

# Seconds that an NFS server keeps the locks of a client that is silent, and that a restarted one
# lets its clients claim what they had.
LEASE = GRACE = 10

SAMBA = """
[global]
    server role = standalone server
    netbios name = server
    workgroup = SHARES
    disable netbios = yes
    smb ports = 445
    server min protocol = SMB3_11
    map to guest = never
    load printers = no
    printing = bsd
    printcap name = /dev/null
    disable spoolss = yes
    log file = /var/log/samba/log.smbd
[srv]
    path = /srv/smb
    read only = no
    valid users = share
    force user = root
"""


def run(*command, check=True):
    """The output of a command, which must succeed unless `check` is false."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def on_client(number, *command, check=True):
    """Runs a command with the network and the host name of a client."""
    return run("nsenter", f"--net=/run/netns/client{number}", f"--uts=/run/utsns/client{number}",
               "--", *command, check=check)


def wait_until(what, condition, seconds=60, step=0.2):
    """Waits until the condition holds; the seconds that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"waited {seconds} s in vain for: {what}")
        time.sleep(step)
    return time.monotonic() - began


def boot():
    """Brings up network and servers."""
    run("hostname", "server")
    run("ip", "link", "set", "lo", "up")
    for path in ("/run/netns", "/run/utsns", "/run/samba", "/var/log/samba", "/run/rpc_pipefs",
                 "/var/lib/nfs/nfsdcld", "/srv/nfs", "/srv/smb"):
        os.makedirs(path, exist_ok=True)
    for client in (1, 2):
        for kind in ("netns", "utsns"):
            Path(f"/run/{kind}/client{client}").touch()
        run("unshare", f"--net=/run/netns/client{client}", f"--uts=/run/utsns/client{client}",
            "hostname", f"client{client}")
        run("ip", "link", "add", f"client{client}", "type", "veth",
            "peer", "name", "eth0", "netns", f"client{client}")
        run("ip", "addr", "add", f"10.77.{client}.1/24", "dev", f"client{client}")
        run("ip", "link", "set", f"client{client}", "up")
        for command in (f"addr add 10.77.{client}.2/24 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", f"client{client}", *command.split())
    run("modprobe", "-a", "nfs", "nfsv4", "nfsv3", "nfsd", "cifs")
    run("mount", "-t", "rpc_pipefs", "rpc_pipefs", "/run/rpc_pipefs")
    run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    Path("/etc/exports").write_text("/srv/nfs 10.77.0.0/16(rw,sync,no_subtree_check,no_root_squash,fsid=1)\n")
    Path("/etc/nfs.conf").write_text("[general]\npipefs-directory=/run/rpc_pipefs\n")
    run("rpcbind", "-w")
    run("nfsdcld")
    run("exportfs", "-ra")
    nfs.start()
    run("rpc.mountd")
    Path("/etc/samba/smb.conf").write_text(SAMBA)
    smb.start()


class Nfs:
    """The kernel's NFS server."""

    def start(self):
        run("rpc.nfsd", "--lease-time", str(LEASE), "--grace-time", str(GRACE), "4")

    def stop(self):
        """Clients get no answer; what a restarted server says is up to them."""
        run("rpc.nfsd", "0")


class Smb:
    """Samba."""

    process = None

    def start(self):
        self.process = subprocess.Popen(
            ["smbd", "--foreground", "--no-process-group"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until("Samba to listen", lambda: run("ss", "-Hltn", "sport = :445") != "")

    def stop(self):
        """Connections are broken, new ones refused."""
        if self.process is None:
            return
        group, self.process = self.process, None
        for sign in (signal.SIGTERM, signal.SIGKILL):
            # Each connection has a process of its own.
            run("pkill", f"-{sign.value}", "-s", str(group.pid), check=False)
            deadline = time.monotonic() + 5
            while run("pgrep", "-s", str(group.pid), check=False).strip() and time.monotonic() < deadline:
                group.poll()
                time.sleep(0.05)
        group.wait()


nfs, smb = Nfs(), Smb()


def pull_the_cable():
    """The first client's packets vanish, and so do those that are for it."""
    run("ip", "link", "set", "client1", "down")


def plug_the_cable():
    run("ip", "link", "set", "client1", "up")


def lose_answers():
    """What the first client asks for is done, and no answer reaches it."""
    run("ip", "route", "add", "blackhole", "10.77.1.2/32")


def answer_again():
    run("ip", "route", "del", "blackhole", "10.77.1.2/32", check=False)


def far_away(milliseconds):
    """What the server answers takes so long to the first client."""
    run("tc", "qdisc", "add", "dev", "client1", "root", "netem", "delay", f"{milliseconds}ms")


def near_again():
    run("tc", "qdisc", "del", "dev", "client1", "root", check=False)


def all_is_well():
    """Ends whatever a test has left broken."""
    answer_again()
    near_again()
    plug_the_cable()
    if smb.process is None:
        smb.start()
    if Path("/proc/fs/nfsd/threads").read_text().strip() == "0":
        nfs.start()
