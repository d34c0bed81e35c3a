//! Running the program and looking at what it did.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The repository's root, where the README's commands are run.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `modspace` with `args`, in the repository's root, with an environment that does not depend on the machine's.
pub fn modspace<Arg: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = Arg>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modspace"));
    command.args(args).current_dir(root());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PYTHON")) {
        command.env_remove(name);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("MODSPACE_LOG");
    command
}

/// What a run printed, and its status.
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    pub status: Option<i32>,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }
}

impl Run {
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.status, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn failed_with(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in stderr:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in stdout:\n{}", self.stdout);
        self
    }

    #[track_caller]
    pub fn stdout_has_all(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.stdout.contains(text), "no {text:?} in stdout:\n{}", self.stdout);
        }
    }

    #[track_caller]
    pub fn stdout_is(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "stderr:\n{}", self.stderr);
        self
    }
}

/// Runs `modspace` with `args` to its end.
pub fn run<Arg: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = Arg>) -> Run {
    modspace(args).stdin(Stdio::null()).output().expect("modspace starts").into()
}

/// Runs `modspace` with `args` and `input` on standard input.
pub fn run_with_input<Arg: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = Arg>, input: &str) -> Run {
    let mut command = modspace(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("modspace starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("modspace reads its input");
    child.wait_with_output().expect("modspace ends").into()
}

/// Installs the pinned requirements of a set of `tests/real/packages.toml` once, and returns the directory.
pub fn packages(set: &str) -> PathBuf {
    #[derive(serde::Deserialize)]
    struct File {
        flags: Vec<String>,
        set: std::collections::BTreeMap<String, Set>,
    }
    #[derive(serde::Deserialize)]
    struct Set {
        requirements: Vec<String>,
    }
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = std::fs::read_to_string(root().join("tests/real/packages.toml")).expect("packages.toml is readable");
    let file: File = toml::from_str(&text).expect("packages.toml is well formed");
    let requirements = &file.set.get(set).unwrap_or_else(|| panic!("packages.toml has no set {set}")).requirements;
    let target = root().join("target/packages").join(set);
    let stamp = target.join(".requirements");
    let wanted = requirements.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return target;
    }
    // Left by an interrupted or older installation.
    let _ = std::fs::remove_dir_all(&target);
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet"])
        .args(&file.flags)
        .arg("--target")
        .arg(&target)
        .args(requirements)
        .output()
        .expect("python3 with pip is needed to install test packages");
    assert!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&stamp, wanted).expect("the stamp is written");
    target
}
