//! Reports of a run in files: JUnit's XML, and JSON.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};
use rustpython_vm::{PyRef, PyResult, VirtualMachine, builtins::PyStrRef, function::PyMethodDef, pyclass};
use serde::{Deserialize, Serialize};

use crate::vm::native::{def, payload};

/// Where reports go.
#[pyclass(module = "modspace", name = "ReportFiles")]
pub(super) struct ReportFiles {
    pub(super) junit: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
}
payload!(ReportFiles);

#[pyclass]
impl ReportFiles {}

pub(super) static WRITE: PyMethodDef = def("write_reports", write);

/// Writes what `spaces/testing/results.py` has collected.
fn write(files: PyRef<ReportFiles>, text: PyStrRef, vm: &VirtualMachine) -> PyResult<()> {
    let results: Results =
        serde_json::from_str(&text.to_string_lossy()).map_err(|error| vm.new_value_error(error.to_string()))?;
    let write = |path: &Path, text: Result<String, String>| {
        let written = text.map_err(io::Error::other).and_then(|text| std::fs::write(path, text));
        written.map_err(|error| vm.new_os_error(format!("{}: cannot be written: {error}", path.display())))
    };
    if let Some(path) = &files.json {
        let document = Document { modspace: env!("CARGO_PKG_VERSION"), summary: results.summary(), results: &results };
        let text = serde_json::to_string_pretty(&document).map(|text| text + "\n");
        write(path, text.map_err(|error| error.to_string()))?;
    }
    if let Some(path) = &files.junit {
        write(path, results.junit().to_string().map_err(|error| error.to_string()))?;
    }
    Ok(())
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'run> {
    modspace: &'static str,
    summary: Summary,
    #[serde(flatten)]
    results: &'run Results,
}

#[derive(Deserialize, Serialize)]
struct Results {
    /// Its version.
    pytest: String,
    /// In seconds since the epoch.
    begun: f64,
    seconds: f64,
    /// pytest's exit status.
    status: i32,
    tests: Vec<TestResult>,
    files: Vec<FileResult>,
}

#[derive(Deserialize, Serialize)]
struct TestResult {
    /// pytest's node id.
    name: String,
    subtest: Option<String>,
    outcome: Outcome,
    /// With its fixtures.
    seconds: f64,
    /// The exception, or why it was skipped.
    message: String,
    /// What pytest prints of a failure.
    details: String,
    stdout: String,
    stderr: String,
    log: String,
    /// What `record_property` recorded.
    properties: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Passed,
    Failed,
    /// Not the test failed, but what is around it: a fixture, or the import of its file.
    Error,
    Skipped,
    XFailed,
    XPassed,
}

#[derive(Deserialize, Serialize)]
struct FileResult {
    name: String,
    seconds: f64,
    /// What was put back after it, and how it had been changed.
    put_back: Vec<(String, String)>,
}

#[derive(Default, Serialize)]
struct Summary {
    passed: usize,
    failed: usize,
    errors: usize,
    skipped: usize,
    xfailed: usize,
    xpassed: usize,
}

impl Results {
    fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for test in &self.tests {
            *match test.outcome {
                Outcome::Passed => &mut summary.passed,
                Outcome::Failed => &mut summary.failed,
                Outcome::Error => &mut summary.errors,
                Outcome::Skipped => &mut summary.skipped,
                Outcome::XFailed => &mut summary.xfailed,
                Outcome::XPassed => &mut summary.xpassed,
            } += 1;
        }
        summary
    }

    /// A test suite for each file.
    fn junit(&self) -> quick_junit::Report {
        let mut report = quick_junit::Report::new("modspace test");
        report.set_time(seconds(self.seconds));
        if let Some(begun) = DateTime::from_timestamp_millis((self.begun * 1e3) as i64) {
            report.set_timestamp(begun);
        }
        let mut suites: Vec<(&str, TestSuite)> = Vec::new();
        for test in &self.tests {
            let file = test.name.split_once("::").map_or(test.name.as_str(), |(file, _)| file);
            // Tests come file by file.
            if suites.last().is_none_or(|(name, _)| *name != file) {
                let mut suite = TestSuite::new(file);
                if let Some(known) = self.files.iter().find(|known| known.name == file) {
                    suite.set_time(seconds(known.seconds));
                }
                suites.push((file, suite));
            }
            if let Some((_, suite)) = suites.last_mut() {
                suite.add_test_case(test.junit());
            }
        }
        report.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
        report
    }
}

impl TestResult {
    fn junit(&self) -> TestCase {
        let kind = |kind| TestCaseStatus::non_success(kind);
        let mut status = match self.outcome {
            Outcome::Passed | Outcome::XPassed => TestCaseStatus::success(),
            Outcome::Skipped | Outcome::XFailed => TestCaseStatus::skipped(),
            Outcome::Failed => kind(NonSuccessKind::Failure),
            Outcome::Error => kind(NonSuccessKind::Error),
        };
        if !matches!(self.outcome, Outcome::Passed | Outcome::XPassed) {
            status.set_message(&*self.message);
        }
        if !self.details.is_empty() {
            status.set_description(&*self.details);
        }
        // The class is what stands before the last part: `tests/test_a.py::TestA::test_b`.
        let parameters = self.name.find('[').unwrap_or(self.name.len());
        let (class, name) = match self.name[..parameters].rfind("::") {
            Some(place) => (&self.name[..place], &self.name[place + 2..]),
            None => ("", &*self.name),
        };
        let name = self.subtest.as_ref().map_or_else(|| name.to_owned(), |subtest| format!("{name} {subtest}"));
        let mut case = TestCase::new(name, status);
        case.set_classname(class.trim_end_matches(".py").replace(".py::", ".").replace(['/', ':'], "."));
        case.set_time(seconds(self.seconds));
        for (name, value) in &self.properties {
            case.add_property(Property::new(&**name, &**value));
        }
        for (text, is_error) in [(&self.stdout, false), (&self.stderr, true)] {
            match (text.is_empty(), is_error) {
                (true, _) => {}
                (false, false) => drop(case.set_system_out(&**text)),
                (false, true) => drop(case.set_system_err(&**text)),
            }
        }
        case
    }
}

/// Of a clock that somebody may have set back meanwhile.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
