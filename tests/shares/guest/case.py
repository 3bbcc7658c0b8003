"""What every test begins with: shares, an endpoint, and the log of what went wrong."""

import os
import unittest

import machine
from dirpost import Dirpost
from receiver import Receiver
from shares import KINDS, Share


def slow(test):
    """A test that only `run --all` and `run PATTERN` do."""
    return unittest.skipUnless(os.environ.get("SHARES_ALL"), "tests/shares/run --all does it")(test)


class Case(unittest.TestCase):
    """One test. Whatever it makes is gone at its end."""

    def setUp(self):
        self.dirposts = []
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)

    def tearDown(self):
        # Before the clean-up: a process on a share that hangs does not end.
        machine.all_is_well()

    def share(self, kind, options=""):
        share = Share(kind, options)
        self.addCleanup(share.remove)
        return share

    def shares(self, *kinds):
        """One new share of each kind, mounted by both clients."""
        made = [self.share(kind) for kind in kinds or KINDS]
        for share in made:
            share.mount(1)
            share.mount(2)
        return made

    def dirpost(self, folder, *settings, name=None):
        """One that is not started yet, with short times unless `settings` have others."""
        made = Dirpost(folder, self.receiver, *settings, name=name)
        self.dirposts.append(made)
        self.addCleanup(made.close)
        return made

    def says(self, share, text):
        """A figure of the test's."""
        print(f"    {str(share):12} {text}", flush=True)

    def waits(self, what, condition, seconds=180, step=0.2):
        return machine.wait_until(what, condition, seconds, step)

    def explain(self):
        """What the programs said, for a test that fails."""
        return "\n".join(f"--- {one.name}, on {one.folder}\n" + "\n".join(one.log().splitlines()[-25:])
                         for one in self.dirposts)
