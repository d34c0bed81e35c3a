"""What became of each test, for reports in files."""

import json
import time

#: The sections of a report that are a test's output, by the beginning of their names.
OUTPUTS = {"Captured stdout": "stdout", "Captured stderr": "stderr", "Captured log": "log"}


def clean(text):
    """Text that can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()


class Results:
    """A plugin of pytest that collects them, and has them written when the run ends, however it does."""

    def __init__(self, write):
        self.write = write
        #: Why they could not be written.
        self.error = None
        #: Tells what there is to say of each file.
        self.files = list
        self.begun = time.time()
        self.tests = {}

    def pytest_configure(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        subtest = getattr(report, "context", None)
        test = self.test(report.nodeid, subtest and subtest._to_json())
        test["seconds"] += report.duration
        # A report has those of the phases before it, too.
        outputs = dict.fromkeys(OUTPUTS.values() if report.sections else (), "")
        for heading, text in report.sections:
            for name, output in OUTPUTS.items():
                if heading.startswith(name):
                    outputs[output] += text
        test.update(outputs)
        test["properties"] = [[str(name), str(value)] for name, value in report.user_properties]
        expected = hasattr(report, "wasxfail")
        if report.failed:
            # What fails after the test itself does not make a failed one better.
            test["outcome"] = "failed" if report.when == "call" or test["outcome"] == "failed" else "error"
            self.explain(test, report)
        elif report.skipped:
            test["outcome"] = "xfailed" if expected else "skipped"
            reason = report.wasxfail if expected else self.reason(report)
            test["message"] = clean(str(reason).removeprefix("reason: "))
        elif report.when == "call":
            test["outcome"] = "xpassed" if expected else "passed"

    def pytest_collectreport(self, report):
        if not report.failed and not report.skipped:
            return
        test = self.test(report.nodeid, None)
        test["outcome"] = "error" if report.failed else "skipped"
        if report.failed:
            self.explain(test, report)
        else:
            test["message"] = clean(self.reason(report))

    def test(self, name, subtest):
        key = name, json.dumps(subtest, default=str)
        if key not in self.tests:
            self.tests[key] = {
                "name": name, "subtest": None if subtest is None else clean(key[1]), "outcome": None, "seconds": 0.0,
                "message": "", "details": "", "stdout": "", "stderr": "", "log": "", "properties": [],
            }
        return self.tests[key]

    @staticmethod
    def reason(report):
        where = report.longrepr
        return where[2].removeprefix("Skipped: ") if isinstance(where, tuple) else str(where)

    @staticmethod
    def explain(test, report):
        crash = getattr(report.longrepr, "reprcrash", None)
        details = report.longreprtext
        message = crash.message if crash is not None else next(iter(details.strip().splitlines()[-1:]), "")
        test["message"] = clean(message)
        test["details"] = clean(details)

    def pytest_sessionfinish(self, session, exitstatus):
        import pytest

        # What did not come to its end, because the run did, has no outcome.
        self.tests = {key: test for key, test in self.tests.items() if test["outcome"] is not None}
        for test in self.tests.values():
            for output in OUTPUTS.values():
                test[output] = clean(test[output])
        document = json.dumps({
            "pytest": pytest.__version__,
            "begun": self.begun,
            "seconds": time.time() - self.begun,
            "status": int(exitstatus),
            "tests": list(self.tests.values()),
            "files": self.files(),
        })
        try:
            self.write(document)
        except OSError as error:
            self.error = error
