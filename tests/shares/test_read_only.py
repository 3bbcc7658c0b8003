"""A share that dirpost may only read, on two hosts."""

import time

from case import Case, slow
from shares import KINDS

SETTINGS = ('ready.settle = "2s"', 'watch.interval = "1s"', 'delivered.action = "keep"')
FILES = 50


class ReadOnly(Case):
    @slow
    def test_two_hosts_with_a_read_only_mount_send_each_version_once_each_and_write_nothing(self):
        for share in [self.share(kind) for kind in KINDS]:
            for number in range(FILES):
                (share.server / f"{number}.csv").write_text(str(number))
            hosts = []
            for client in (1, 2):
                share.mount(client, "ro")
                host = self.dirpost(share.at(client), *SETTINGS)
                host.config.write_text(host.config.read_text() + host.local_state() + "\n")
                hosts.append(host.starts())
            for host in hosts:
                self.waits("all to arrive", lambda: len(self.receiver.paths(host.name)) == FILES, 120)
            # A restart and a remount send nothing again.
            hosts[0].ends()
            share.unmount(1)
            share.mount(1, "ro")
            hosts[0].starts()
            (share.server / "new.csv").write_text("new")
            (share.server / "0.csv").write_text("a version of more bytes")
            for host in hosts:
                self.waits("new ones to arrive", lambda: len(self.receiver.of(host.name)) >= FILES + 2, 180)
            time.sleep(5)
            keys = []
            for host in hosts:
                self.assertEqual(len(self.receiver.of(host.name)), FILES + 2)
                keys.append({(one.path, one.key) for one in self.receiver.of(host.name)})
            self.assertEqual(len(list(share.server.iterdir())), FILES + 1, "nothing was written")
            same = "the same keys" if keys[0] == keys[1] else "keys of its own"
            self.says(share, f"{FILES} files, 1 new and 1 rewritten: each host sent {FILES + 2}, each version once, under {same}")
