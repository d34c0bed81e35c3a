//! `modspace store`: modules of a store as files, and back.

use std::{fs, path::Path};

use serde_json::Value;

use super::harness::{Run, modspace};

/// Runs `modspace store` in a directory.
fn store(folder: &Path, args: &[&str]) -> Run {
    modspace(std::iter::once("store").chain(args.iter().copied()))
        .current_dir(folder)
        .env_remove("MODSPACE_STORE")
        .env_remove("MODSPACE_AUTHOR")
        .output()
        .expect("modspace starts")
        .into()
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let run = store(folder, &[args, &["--json"]].concat());
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", run.stdout, run.stderr))
}

fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// A store with `pkg.mod` and `top`, and two checkouts of it.
fn checkouts() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = folder.path();
    write(at.join("src/pkg/mod.py"), "def f():\n    a = 1\n    b = 2\n    c = 3\n    return 1\n");
    write(at.join("src/top.py"), "x = 1\n");
    store(at, &["init", "app.store"]).succeeded();
    store(at, &["--store", "app.store", "import", "src", "-m", "first", "--author", "me"]).succeeded();
    for name in ["one", "two"] {
        store(at, &["--store", "app.store", "checkout", name]).succeeded().stdout_has("commit");
    }
    folder
}

#[test]
fn changes_in_files_are_committed_and_shown() {
    let folder = checkouts();
    let one = folder.path().join("one");
    store(&one, &["status"]).succeeded().stdout_has("nothing to commit");
    store(&one, &["commit"]).succeeded().stdout_is("nothing to commit\n");
    write(one.join("new.py"), "y = 1\n");
    write(one.join("top.py"), "x = 2\n");
    fs::remove_file(one.join("pkg/mod.py")).expect("a file");
    store(&one, &["status"])
        .succeeded()
        .stdout_has("added     new")
        .stdout_has("deleted   pkg.mod")
        .stdout_has("modified  top");
    store(&one, &["diff"])
        .succeeded()
        .stdout_has("--- a/top.py\n+++ b/top.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n")
        .stdout_has("--- /dev/null\n+++ b/new.py");
    store(&one, &["diff", "--color", "always"]).succeeded().stdout_has("\u{1b}[32m+x = 2");
    store(&one.join("pkg"), &["commit", "-m", "second", "--author", "you"]).succeeded().stdout_has("commit ");
    store(&one, &["modules"]).succeeded().stdout_is("new\ntop\n");
    let log = json(&one, &["log"]);
    assert_eq!(
        (&log[0]["message"], &log[0]["author"], &log[1]["message"]),
        (&"second".into(), &"you".into(), &"first".into())
    );
    assert_eq!(log[0]["parents"][0], log[1]["id"]);
    let short = &log[1]["id"].as_str().expect("an id")[..8];
    store(&one, &["show"]).succeeded().stdout_has("    second").stdout_has("-x = 1");
    store(&one, &["show", "top"]).succeeded().stdout_is("x = 2\n");
    store(&one, &["show", "top", "--at", short]).succeeded().stdout_is("x = 1\n");
    store(&one, &["diff", short]).succeeded().stdout_has("+++ b/new.py");
    store(&one, &["undo", "main"]).succeeded();
    store(&one, &["update"]).succeeded().stdout_has("updated   pkg.mod").stdout_has("deleted   new");
    assert_eq!(fs::read_to_string(one.join("top.py")).expect("a file"), "x = 1\n");
    assert!(!one.join("new.py").exists());
}

#[test]
fn changes_of_both_sides_are_merged_or_marked() {
    let folder = checkouts();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let source = |a: u32, c: u32| format!("def f():\n    a = {a}\n    b = 2\n    c = {c}\n    return 1\n");
    write(one.join("pkg/mod.py"), &source(10, 3));
    store(&one, &["commit", "-m", "theirs", "--author", "one"]).succeeded();
    write(two.join("pkg/mod.py"), &source(1, 30));
    store(&two, &["commit"]).failed_with(1).stderr_has("pkg.mod").stderr_has("modspace store update");
    store(&two, &["update"]).succeeded().stdout_has("merged    pkg.mod");
    assert_eq!(fs::read_to_string(two.join("pkg/mod.py")).expect("a file"), source(10, 30));
    store(&two, &["commit", "-m", "both"]).succeeded();
    store(&one, &["update"]).succeeded();
    assert_eq!(fs::read_to_string(one.join("pkg/mod.py")).expect("a file"), source(10, 30));
    // The same line.
    write(one.join("top.py"), "x = 3\n");
    store(&one, &["commit"]).succeeded();
    write(two.join("top.py"), "x = 4\n");
    store(&two, &["update"]).failed_with(1).stdout_has("conflict  top");
    let marked = fs::read_to_string(two.join("top.py")).expect("a file");
    assert!(marked.contains("<<<<<<< ours\nx = 4\n") && marked.contains("x = 3\n>>>>>>> theirs"), "{marked}");
    store(&two, &["status"]).succeeded().stdout_has("conflict  top");
    store(&two, &["commit"]).failed_with(1).stderr_has("top").stderr_has("conflict");
    write(two.join("top.py"), "x = 34\n");
    store(&two, &["commit", "-m", "solved"]).succeeded();
    store(&one, &["show", "top"]).succeeded().stdout_is("x = 34\n");
    // Changed here, deleted there: the file stays, and is said.
    fs::remove_file(one.join("top.py")).expect("a file");
    store(&one, &["update"]).failed_with(1);
    assert!(one.join("top.py").exists());
}

#[test]
fn what_others_changed_elsewhere_comes_with_a_commit() {
    let folder = checkouts();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    write(one.join("top.py"), "x = 5\n");
    write(two.join("pkg/mod.py"), "z = 1\n");
    store(&one, &["commit"]).succeeded();
    store(&two, &["status"]).succeeded().stdout_has("the branch has moved on");
    store(&two, &["commit"]).succeeded();
    assert_eq!(fs::read_to_string(two.join("top.py")).expect("a file"), "x = 5\n");
    store(&two, &["status"]).succeeded().stdout_has("nothing to commit");
    assert_eq!(json(&two, &["status"])["commit"], json(&two, &["status"])["head"]);
}

#[test]
fn a_plan_says_what_a_commit_would_do() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (at, one) = (folder.path(), folder.path().join("one"));
    write(at.join("src/base.py"), "LIMIT = 1\nclass A: ...\ndef f(): return LIMIT\n");
    write(at.join("src/user.py"), "print('on stderr')\nfrom base import f, LIMIT\n");
    write(at.join("src/broken.py"), "import base\n1/0\n");
    store(at, &["init", "app.store"]).succeeded();
    store(at, &["--store", "app.store", "import", "src"]).succeeded();
    store(at, &["--store", "app.store", "checkout", "one"]).succeeded();
    store(&one, &["plan"]).succeeded().stdout_has("0 updated, 0 removed");
    write(one.join("base.py"), "LIMIT = 2\nclass A: ...\ndef g(): return LIMIT\n");
    write(one.join("new.py"), "");
    let plan = store(&one, &["plan"]).succeeded().stderr_has("on stderr");
    let lines: Vec<_> = plan.stdout.lines().collect();
    assert!(lines[0].starts_with("from commit ") && lines[0].ends_with(" to the files: 1 updated, 0 removed"));
    let rest = [
        "  updated  base.LIMIT",
        "  deleted  base.f",
        "  added    base.g",
        "  note     user: still has f, which base defines no more",
        "  rebound  user.LIMIT: imported from base",
        "  new      new",
        "  in use   base.f goes and is imported by user",
        "  not loaded, so not looked at: broken: ZeroDivisionError: division by zero",
    ];
    assert_eq!(lines[1..], rest);
    // Nothing has happened.
    store(&one, &["status"]).succeeded().stdout_has("modified  base");
    assert_eq!(json(&one, &["log"]).as_array().expect("a list").len(), 1);
    let plan = json(&one, &["plan", "--import", "base"]);
    assert_eq!(plan["modules"], serde_json::json!(["base"]));
    assert_eq!(plan["entries"].as_array().expect("a list").len(), 3);
    assert_eq!(plan["in_use"][0]["importers"], serde_json::json!({ "user": ["f"] }));
    // Of some of the files, named from where one is, or as modules.
    for args in [["plan", "new.py"], ["plan", "new"]] {
        store(&one, &args).succeeded().stdout_has("0 updated").stdout_has("new      new");
    }
    store(&one, &["plan", "user.py"]).failed_with(1).stderr_has("user.py").stderr_has("status");
    write(one.join("base.py"), "class A: __slots__ = ()\n");
    store(&one, &["plan"]).failed_with(1).stdout_has("refused  base.A: its __slots__ changed");
    store(&one, &["plan", "--replace"]).succeeded().stdout_has("replaced base.A");
    write(one.join("base.py"), "1/0\n");
    store(&one, &["plan"]).failed_with(1).stderr_has("ZeroDivisionError").stderr_has("\"base\"");
    write(one.join("base.py"), "def f(:\n");
    store(&one, &["plan"]).failed_with(1).stderr_has("\"base\"").stderr_has("line 1");
}

#[test]
fn a_plan_goes_to_any_commit() {
    let folder = checkouts();
    let at = folder.path();
    let first = json(at, &["--store", "app.store", "log"])[0]["id"].as_str().expect("an id").to_owned();
    write(at.join("one/top.py"), "x = 2\n");
    fs::remove_file(at.join("one/pkg/mod.py")).expect("a file");
    store(&at.join("one"), &["commit"]).succeeded();
    let plan = store(at, &["--store", "app.store", "plan", "--at", &first[..8]]).succeeded();
    plan.stdout_has("1 updated, 0 removed").stdout_has("updated  top.x").stdout_has("new      pkg.mod");
    // The other checkout is at the first commit still.
    let plan = json(&at.join("two"), &["plan", "--at", "main"]);
    assert_eq!(plan["from"], Value::from(first));
    assert_eq!(plan["removed"], serde_json::json!(["pkg", "pkg.mod"]));
}

#[test]
fn what_is_in_use_is_said_or_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (at, one) = (folder.path(), folder.path().join("one"));
    write(at.join("src/base.py"), "f = 1\n");
    write(at.join("src/user.py"), "from base import f\n");
    store(at, &["init", "app.store"]).succeeded();
    let options = ["--store", "app.store"];
    store(at, &[&options[..], &["import", "src"]].concat()).succeeded();
    store(at, &[&options[..], &["checkout", "one"]].concat()).succeeded();
    store(at, &[&options[..], &["config"]].concat()).succeeded().stdout_is("removal = warn\n");
    store(&one, &["config", "removal", "refuse"]).succeeded().stdout_is("removal = refuse\n");
    assert_eq!(json(&one, &["config"]), serde_json::json!({ "removal": "refuse" }));
    store(&one, &["config", "removal", "never"]).failed_with(1).stderr_has("allow or warn or refuse");
    store(&one, &["config", "color"]).failed_with(1).stderr_has("removal");
    fs::remove_file(one.join("base.py")).expect("a file");
    store(&one, &["commit"]).failed_with(1).stderr_has("base goes and is imported by user (f)").stderr_has("removal");
    store(&one, &["status"]).stdout_has("deleted   base");
    store(&one, &["config", "removal", "warn"]).succeeded();
    store(&one, &["commit"]).succeeded().stderr_has("warning: base goes and is imported by user (f)");
    let user = json(&one, &["show", "user"]);
    assert_eq!((&user["imports"], &user["metadata"]), (&serde_json::json!({}), &serde_json::json!({})));
    store(&one, &["undo", "main"]).succeeded();
    assert_eq!(json(&one, &["show", "base"])["importers"], serde_json::json!({ "user": ["f"] }));
    store(at, &[&options[..], &["branches"]].concat()).succeeded().stdout_has("main");
    assert_eq!(json(&one, &["gc"])["deleted"], 1, "the settings before");
    store(&one, &["verify"]).succeeded().stdout_has("0 problems");
}

#[test]
fn directories_are_imported_and_exported_whole() {
    let folder = checkouts();
    let at = folder.path();
    write(at.join("src/pkg/__init__.py"), "from .mod import f\n");
    write(at.join("src/no-name.py"), "");
    write(at.join("src/.hidden/secret.py"), "");
    write(at.join("src/__pycache__/top.py"), "");
    fs::remove_file(at.join("src/top.py")).expect("a file");
    store(at, &["--store", "app.store", "import", "src"]).succeeded().stdout_has("left out").stdout_has("no-name");
    store(at, &["--store", "app.store", "modules"]).stdout_is("pkg.__init__\npkg.mod\ntop\n");
    store(at, &["--store", "app.store", "import", "src", "--exactly"]).succeeded();
    store(at, &["--store", "app.store", "modules"]).stdout_is("pkg.__init__\npkg.mod\n");
    store(at, &["--store", "app.store", "import", "src", "--exactly"]).succeeded().stdout_has("nothing to commit");
    write(at.join("src/bad.py"), "x = 1\ndef f(:\n");
    store(at, &["--store", "app.store", "import", "src"]).failed_with(1).stderr_has("\"bad\"").stderr_has("line 2");
    store(at, &["--store", "app.store", "export", "out"]).succeeded().stdout_has("2 files");
    assert_eq!(fs::read(at.join("out/pkg/__init__.py")).expect("a file"), b"from .mod import f\n");
    store(at, &["--store", "app.store", "checkout", "out"]).failed_with(1).stderr_has("not empty");
}

#[test]
fn damage_is_named_and_nothing_needed_is_deleted() {
    let folder = checkouts();
    let at = folder.path();
    let options = ["--store", "app.store"];
    store(at, &[&options[..], &["verify"]].concat()).succeeded().stdout_has("1 commits").stdout_has("0 problems");
    assert_eq!(json(at, &["--store", "app.store", "gc"])["deleted"], 0);
    let file = rusqlite::Connection::open(at.join("app.store")).expect("a database");
    let changed = file.execute("UPDATE records SET bytes = CAST('bx = 9' AS BLOB) WHERE length(bytes) = 7", []);
    assert_eq!(changed.expect("it works"), 1);
    store(at, &[&options[..], &["verify"]].concat())
        .failed_with(1)
        .stdout_has("the source of \"top\"")
        .stdout_has("1 problems");
    store(at, &[&options[..], &["gc"]].concat()).failed_with(1).stderr_has("\"top\"");
    store(at, &[&options[..], &["show", "top"]].concat()).failed_with(1).stderr_has("damaged");
    store(at, &[&options[..], &["show", "pkg.mod"]].concat()).succeeded();
}

#[test]
fn checkouts_that_are_watched_keep_in_step() {
    let folder = checkouts();
    let watch = |name: &str| {
        let mut command = modspace(["store", "-C", name, "sync", "--watch"]);
        command.current_dir(folder.path()).stdout(std::process::Stdio::null()).spawn().expect("modspace starts")
    };
    let mut watching = [watch("one"), watch("two")];
    let becomes = |file: &str, text: &str| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while fs::read_to_string(folder.path().join(file)).ok().as_deref() != Some(text) {
            assert!(std::time::Instant::now() < deadline, "{file} does not become {text:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    write(folder.path().join("one/top.py"), "x = 7\n");
    becomes("two/top.py", "x = 7\n");
    write(folder.path().join("two/top.py"), "x = (\n");
    write(folder.path().join("two/new.py"), "y = 1\n");
    write(folder.path().join("two/top.py"), "x = 8\n");
    becomes("one/top.py", "x = 8\n");
    becomes("one/new.py", "y = 1\n");
    for process in &mut watching {
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }
}

#[test]
fn errors_say_what_to_do() {
    let folder = checkouts();
    let at = folder.path();
    store(at, &["status"]).failed_with(1).stderr_has("modspace store checkout");
    store(at, &["log"]).failed_with(1).stderr_has("--store");
    store(at, &["--store", "absent.store", "log"]).failed_with(1).stderr_has("modspace store init");
    store(at, &["--store", "src/top.py", "log"]).failed_with(1).stderr_has("not an SQLite file");
    store(at, &["--store", "app.store", "show", "absent"]).failed_with(1).stderr_has("no module \"absent\"");
    store(at, &["--store", "app.store", "undo", "zzzz"]).failed_with(1).stderr_has("not a commit id");
    store(at, &["--store", "app.store", "log", "--branch", "no such"]).failed_with(1).stderr_has("branch name");
    store(at, &["--store", "app.store", "log", "--branch", "other"]).succeeded().stdout_is("");
}
