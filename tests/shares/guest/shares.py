"""The kinds of share, and one folder of the server's seen through a client's mount of it."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from machine import on_client, run


@dataclass(frozen=True)
class Kind:
    """What a client mounts, and with which options."""

    name: str
    server: str
    type: str
    options: str

    @property
    def word(self):
        return self.name.lower().replace(" ", "").replace(".", "")


# With the options that a plain entry in fstab has. Version 3 without its lock manager, as in most
# containers and wherever rpc.statd is not running.
NFS4 = Kind("NFS 4.2", "nfs", "nfs", "vers=4.2,hard")
NFS3 = Kind("NFS 3", "nfs", "nfs", "vers=3,hard,nolock")
SMB = Kind("SMB 3.1.1", "smb", "cifs", "vers=3.1.1,username=share,password=share,uid=0,gid=0")
KINDS = (NFS4, NFS3, SMB)


class Share:
    """A folder of the server's: `server` is it on the server's own disk, `at(1)` and `at(2)` where
    the two clients have it mounted."""

    def __init__(self, kind, options=""):
        self.kind = kind
        self.options = ",".join(filter(None, (kind.options, options)))
        self.server = Path(tempfile.mkdtemp(prefix=f"{kind.word}-", dir=f"/srv/{kind.server}"))
        self.server.chmod(0o777)
        self.name = self.server.name
        self.mounted = []

    def __str__(self):
        return self.kind.name

    def at(self, client):
        return Path(f"/mnt/{self.name}-{client}")

    def mount(self, client=1, options=""):
        """Mounts it on a client; the path."""
        path, options = self.at(client), ",".join(filter(None, (self.options, options)))
        path.mkdir(parents=True, exist_ok=True)
        source = (f"//10.77.{client}.1/srv/{self.name}" if self.kind.type == "cifs"
                  else f"10.77.{client}.1:/srv/nfs/{self.name}")
        on_client(client, "mount", "-t", self.kind.type, "-o", options, source, str(path))
        self.mounted.append(client)
        return path

    def unmount(self, client=1):
        """Lazily: what is open stays open, and the path shows the empty folder below."""
        run("umount", "-l", str(self.at(client)))
        self.mounted.remove(client)

    def remove(self):
        for client in list(self.mounted):
            self.unmount(client)
        for client in (1, 2):
            if self.at(client).exists():
                os.rmdir(self.at(client))
        shutil.rmtree(self.server, ignore_errors=True)
