"""Runs the tests: `main.py` the most telling ones, `--all`, or patterns of names."""

import os
import sys
import time
import unittest

import machine


class Result(unittest.TextTestResult):
    """Says how long each test took, and shows the logs of the programs when it fails."""

    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)
        self.stream.writeln()

    def getDescription(self, test):
        return test.id().split(".", 1)[-1]

    def stopTest(self, test):
        self.stream.writeln(f"    ({time.monotonic() - self.began:.0f} s)\n")
        super().stopTest(test)

    def addError(self, test, err):
        super().addError(test, err)
        self.tells(test, self.errors)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tells(test, self.failures)

    def tells(self, test, found):
        """What went wrong at once, for other tests may still take their time."""
        self.stream.writeln(found[-1][1])
        if hasattr(test, "explain"):
            self.stream.writeln(test.explain())

    def printErrors(self):
        pass


def main():
    patterns = [word for word in sys.argv[1:] if word and word != "--all"]
    if patterns or "--all" in sys.argv:
        os.environ["SHARES_ALL"] = "1"
    machine.boot()
    loader = unittest.TestLoader()
    if patterns:
        loader.testNamePatterns = [f"*{pattern}*" for pattern in patterns]
    tests = loader.discover("/shares", pattern="test_*.py")
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result)
    sys.exit(0 if runner.run(tests).wasSuccessful() else 1)


main()
