"""Writers on the other client that take their time."""

import os
import threading
import time

from case import Case, slow
from receiver import digest

KEEP = ('watch.interval = "2s"', 'delivered.action = "keep"')
END = b"END\n"
PART = b"0123456789abcdef\n" * 100
# Longer than attributes are cached by default (60 s).
LONG = 75


def appends(path, seconds):
    """Opens, appends and closes, every 3 s."""
    path.write_bytes(PART)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(3)
        with path.open("ab") as file:
            file.write(PART)


def holds_open(path, seconds):
    """Appends through one open file, every 3 s, and says nothing to the server of its own accord."""
    until = time.monotonic() + seconds
    with path.open("wb", buffering=0) as file:
        while time.monotonic() < until:
            file.write(PART)
            time.sleep(3)
        file.write(END)


def fills(path, seconds):
    """Gives the file its final size first, and fills it slowly through one open file."""
    steps = seconds // 3
    with path.open("wb", buffering=0) as file:
        file.truncate(steps * len(PART) + len(END))
        file.seek(0)
        for _ in range(steps):
            file.write(PART)
            time.sleep(3)
        file.write(END)


def pauses(path, seconds):
    """Stops half-way for longer than the settle time, with all it wrote on the server."""
    with path.open("wb", buffering=0) as file:
        file.write(PART)
        os.fsync(file.fileno())
        time.sleep(seconds)
        file.write(END)


class SlowWriters(Case):
    @slow
    def test_nothing_torn_is_accepted_of_a_slow_writer_where_the_settle_time_or_the_end_of_the_file_shows_it(self):
        """What is promised is asserted, and what is not is told; each whole file arrives in the end."""
        rows = []
        ends = 'check.ends_with = "END"'
        for share in self.shares():
            # name, writer, how long it takes, settings, whether nothing torn is promised
            for word, writer, seconds, settings, promised in (
                ("appends every 3 s, settle 10 s", appends, LONG, ['ready.settle = "10s"'], True),
                ("appends through one open file, settle 60 s", holds_open, LONG, [], True),
                ("appends through one open file, settle 10 s", holds_open, LONG, ['ready.settle = "10s"'], False),
                ("fills a preallocated file, settle 60 s", fills, LONG, [], False),
                ("fills a preallocated file, settle 10 s, ends_with", fills, LONG, ['ready.settle = "10s"', ends], True),
                ("pauses for 20 s, settle 10 s", pauses, 20, ['ready.settle = "10s"'], False),
                ("pauses for 20 s, settle 10 s, ends_with", pauses, 20, ['ready.settle = "10s"', ends], True),
            ):
                folder = f"{len(rows)}"
                (share.at(2) / folder).mkdir()
                self.waits("the folder", lambda: (share.at(1) / folder).is_dir())
                dirpost = self.dirpost(share.at(1) / folder, *KEEP, *settings).starts()
                path = share.at(2) / folder / "a.csv"
                thread = threading.Thread(target=writer, args=(path, seconds), daemon=True)
                rows.append((share, word, path, dirpost, promised, thread))
        for row in rows:
            row[-1].start()
        for row in rows:
            row[-1].join()
        for share, word, path, dirpost, promised, _ in rows:
            whole = digest((share.server / path.parent.name / path.name).read_bytes())
            self.waits(f"{share}: {word}: the whole file to arrive",
                       lambda: any(one.digest == whole for one in self.receiver.of(dirpost.name)), 150)
            torn = [one.size for one in self.receiver.of(dirpost.name) if one.digest != whole]
            self.says(share, f"{word}: {'torn ' + str(len(torn)) + ' times, then whole' if torn else 'whole, once'}")
            if promised:
                self.assertEqual(torn, [], f"{share}: {word}")
