//! The command line behaves as `python` does.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use super::harness::{modspace, root, run, run_with_input};

#[test]
fn a_program_gets_a_space_of_its_own_under_the_root() {
    let program = "import modspace; print(modspace.current().parent is modspace.root, __name__)";
    run(["run", "-c", program]).succeeded().stdout_is("True __main__\n");
    run(["run", "--root", "-c", "import modspace; print(modspace.current())"])
        .succeeded()
        .stdout_is("<ModuleSpace 'root'>\n");
}

#[test]
fn arguments_are_the_programs() {
    let program = "import sys; print(sys.argv)";
    run(["run", "-c", program, "-x", "--share", "y"]).stdout_is("['-c', '-x', '--share', 'y']\n");
    run_with_input(["run", "-", "a"], program).succeeded().stdout_is("['-', 'a']\n");
    run(["run", "tests/fixtures/programs/argv.py", "--", "-c"])
        .stdout_is("['tests/fixtures/programs/argv.py', '--', '-c']\n");
}

#[test]
fn what_follows_a_module_or_code_is_the_programs() {
    let program = "import sys; print(sys.argv)";
    run(["run", "-c", program, "-B", "a", "--path", "x"]).succeeded().stdout_is("['-c', '-B', 'a', '--path', 'x']\n");
    run(["run", "-m", "json.tool", "--help"]).succeeded().stdout_has("--sort-keys");
    run(["run", "--help"]).succeeded().stdout_has("--delegation");
}

#[test]
fn it_takes_the_command_line_of_python() {
    let argv = "import sys; print(sys.argv)";
    run(["-c", argv, "-x", "--", "y"]).succeeded().stdout_is("['-c', '-x', '--', 'y']\n");
    run(["tests/fixtures/programs/argv.py", "--", "-c"])
        .succeeded()
        .stdout_is("['tests/fixtures/programs/argv.py', '--', '-c']\n");
    run(["-Bm", "json.tool", "--help"]).succeeded().stdout_has("--sort-keys");
    run(["-Wignore", "-W", "error", "-Xone", "-X", "two=2", &format!("-c{argv}")]).succeeded().stdout_is("['-c']\n");
    run_with_input(["-", "a"], argv).succeeded().stdout_is("['-', 'a']\n");
    run(["--", "tests/fixtures/programs/argv.py", "a"])
        .succeeded()
        .stdout_is("['tests/fixtures/programs/argv.py', 'a']\n");
    run(["-W", "-c", "-X=x", "-c", "import sys; print(sys.warnoptions, sys._xoptions)"])
        .succeeded()
        .stdout_is("['-c'] {'': 'x'}\n");
    run(["-c", ""]).succeeded().stdout_is("");
    run(["-c=1"]).failed_with(1).stderr_has("SyntaxError");
    run(["-m", "-h"]).failed_with(1).stderr_has("No module named -h");
    run(["no/such/file.py"]).failed_with(2).stderr_has("modspace: can't open file 'no/such/file.py'");
    run(["nothing"]).failed_with(2).stderr_has("unrecognized subcommand 'nothing'");
    run(["-z"]).failed_with(2).stderr_has("unexpected argument '-z'");
    run(["-c"]).failed_with(2).stderr_has("a value is required for '-c <CODE>'");
    run(["--version"]).succeeded().stdout_has("modspace");
}

#[test]
fn a_program_starts_others_with_its_own_options() {
    let program = "\
import subprocess, sys
from subprocess import _args_from_interpreter_flags as flags
print(flags())
if len(sys.argv) == 1:
    subprocess.run([sys.executable, *flags(), '-c', sys.orig_argv[-1], 'again'], check=True)";
    for options in [
        &["-bb", "-d", "-E", "-s", "-P", "-S", "-v", "-q", "-B", "-OO", "-Werror", "-Xdev", "-Xa=1"][..],
        &["-I", "-b", "-Wignore::ImportWarning"],
    ] {
        let run = run(options.iter().chain(&["-u", "-c", program])).succeeded();
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, lines[1]), "{}", run.stderr);
        for option in options.iter().filter(|option| !option.starts_with("-X")) {
            assert!(lines[0].contains(option), "no {option} in {}", lines[0]);
        }
    }
}

#[test]
fn options_of_python_do_what_they_do_there() {
    let front = "import sys; print(repr(sys.path[0]), sys.flags.safe_path)";
    run(["-c", front]).stdout_is("'' False\n");
    assert!(!run(["-P", "-c", front]).succeeded().stdout_has("True").stdout.starts_with("''"));
    run(["-b", "-c", "str(b'')"]).succeeded().stderr_has("BytesWarning");
    run(["-bb", "-c", "str(b'')"]).failed_with(1).stderr_has("BytesWarning");
    run(["-v", "-c", "import colorsys"]).succeeded().stderr_has("import 'colorsys' # ");
    run([
        "-X",
        "dev",
        "-X",
        "name=value",
        "-c",
        "import sys; print(sys.flags.dev_mode, sys._xoptions, sys.warnoptions)",
    ])
    .stdout_is("True {'dev': True, 'name': 'value'} ['default']\n");
    for option in ["-E", "-I"] {
        let mut command = modspace([option, "-c", "import sys; print('/elsewhere' in sys.path)"]);
        command.env("PYTHONPATH", "/elsewhere").env("PYTHONOPTIMIZE", "2");
        assert_eq!(String::from_utf8_lossy(&command.output().expect("modspace starts").stdout), "False\n");
    }
}

#[test]
fn processes_of_multiprocessing_are_started_anew() {
    let program = "\
import multiprocessing, sys
def square(number):
    return number * number
if __name__ == '__main__':
    with multiprocessing.get_context('spawn').Pool(2) as pool:
        print(pool.map(square, range(4)))";
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("squares.py");
    std::fs::write(&file, program).expect("a file");
    run([&file]).succeeded().stdout_is("[0, 1, 4, 9]\n");
}

#[test]
fn a_module_runs_as_main() {
    run(["run", "--path", "tests/fixtures/programs", "-m", "package", "one"])
        .succeeded()
        .stdout_is("__main__ package ['one']\n");
}

#[test]
fn a_directory_and_a_zip_file_run_their_main() {
    run(["run", "tests/fixtures/programs/application"]).succeeded().stdout_is("application\n");
    let zip = tempfile::tempdir().expect("a temporary directory");
    let archive = zip.path().join("application.zip");
    let pack = format!(
        "import zipfile; zipfile.ZipFile({:?}, 'w').write('tests/fixtures/programs/application/__main__.py', '__main__.py')",
        archive.display().to_string()
    );
    run(["run", "-c", &pack]).succeeded();
    run(["run".as_ref(), archive.as_os_str()]).succeeded().stdout_is("application\n");
}

#[test]
fn exit_status_is_pythons() {
    run(["run", "-c", "pass"]).failed_with(0);
    run(["run", "-c", "raise SystemExit(7)"]).failed_with(7);
    run(["run", "-c", "raise SystemExit('so long')"]).failed_with(1).stderr_has("so long\n");
    run(["run", "-c", "import sys; sys.exit(256 + 3)"]).failed_with(3);
    run(["run", "-c", "1 / 0"]).failed_with(1).stderr_has("ZeroDivisionError");
    run(["run", "no/such/file.py"])
        .failed_with(2)
        .stderr_has("modspace: can't open file 'no/such/file.py': [Errno 2] No such file or directory");
    run(["run", "-m", "no_such_module"]).failed_with(1).stderr_has("modspace: No module named no_such_module");
    run(["run"]).failed_with(2).stderr_has("modspace run --help");
    run(["run", "--no-such-option"]).failed_with(2).stderr_has("--no-such-option");
}

#[test]
fn tracebacks_show_source_and_hide_the_import_machinery() {
    let run = run(["run", "tests/fixtures/programs/fails_in_import.py"]).failed_with(1);
    let expected = "\
Traceback (most recent call last):
  File \"ROOT/tests/fixtures/programs/fails_in_import.py\", line 1, in <module>
    import raises
  File \"ROOT/tests/fixtures/programs/raises.py\", line 1, in <module>
    raise ValueError(\"in an imported module\")
ValueError: in an imported module
";
    assert_eq!(run.stderr, expected.replace("ROOT", &root().display().to_string()));
}

#[test]
fn the_standard_library_shows_its_source() {
    let program =
        "import inspect, json, enum; print(inspect.getsource(json.dumps)[:9], inspect.getsource(enum.Enum)[:10])";
    run(["run", "-c", program]).succeeded().stdout_is("def dumps class Enum\n");
    run(["run", "-c", "import json; json.loads('{')"]).failed_with(1).stderr_has("obj, end = self.raw_decode(");
}

#[test]
fn the_whole_standard_library_is_in_the_build() {
    let program = "\
import sqlite3, ssl, zlib, bz2, lzma, ctypes, _socket, socket
print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0])
print(bz2.decompress(bz2.compress(b'x')), lzma.decompress(lzma.compress(b'y')), zlib.decompress(zlib.compress(b'z')))
print(ssl.create_default_context().check_hostname, ctypes.sizeof(ctypes.c_int))";
    run(["run", "-c", program]).succeeded().stdout_is("42\nb'x' b'y' b'z'\nTrue 4\n");
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let mut command = modspace(["run", "-u", "-c", "while True: print('x' * 1000)"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("modspace starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let output = child.wait_with_output().expect("modspace ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("BrokenPipeError") && !stderr.contains("panicked"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
}

/// Runs a program, and presses Ctrl-C when it has printed a line.
#[cfg(unix)]
fn interrupted(program: &str) -> std::process::Output {
    let mut command = modspace(["run", "-c", program]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("modspace starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    child.wait_with_output().expect("modspace ends")
}

#[cfg(unix)]
#[test]
fn ctrl_c_raises_keyboard_interrupt_and_ends_by_the_signal() {
    use std::os::unix::process::ExitStatusExt;
    let output = interrupted("import sys, time\nprint('ready', flush=True)\nwhile True: time.sleep(60)");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.ends_with("KeyboardInterrupt\n"), "{stderr}");
    assert_eq!(output.status.signal(), Some(2), "a shell must see that the program was interrupted");
}

#[test]
fn threads_may_wait_for_the_end_of_the_main_thread() {
    let program = "\
import threading, time
stop = threading.Event()
threading._register_atexit(stop.set)
def see():
    while threading.main_thread().is_alive(): time.sleep(0.01)
for work in (see, threading.main_thread().join, stop.wait): threading.Thread(target=work).start()
print('end')";
    run(["run", "-c", program]).succeeded().stdout_is("end\n");
}

#[cfg(unix)]
#[test]
fn ctrl_c_at_the_end_names_the_thread_that_hangs() {
    let output = interrupted(
        "\
import atexit, threading, time
threading.Thread(target=time.sleep, args=(3600,), name='hanging').start()
threading.Thread(target=time.sleep, args=(3600,), name='daemon', daemon=True).start()
threading._register_atexit(print, 'ready', flush=True)",
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("Exception ignored in threading shutdown, which waits for hanging: "), "{stderr}");
    assert!(stderr.ends_with("KeyboardInterrupt: \n"), "{stderr}");
}

#[test]
fn atexit_callbacks_run_last_registered_first_and_children_before_parents() {
    let program = "\
import atexit, modspace
child = modspace.ModuleSpace(modspace.current(), name='child')
atexit.register(print, 'parent 1')
atexit.register(print, 'parent 2')
child.exec(\"import atexit; atexit.register(print, 'child 1'); atexit.register(print, 'child 2')\")
print('end')";
    run(["run", "-c", program]).succeeded().stdout_is("end\nchild 2\nchild 1\nparent 2\nparent 1\n");
}

#[test]
fn what_the_modules_hold_is_finalised_at_the_end() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("written.txt");
    let program = "\
import sys, modspace
class Noisy:
    def __init__(self, name): self.name = name
    def __del__(self): print('gone:', self.name)
plain = Noisy('a global')
ring = [Noisy('in a cycle')]; ring.append(ring)
child = modspace.ModuleSpace(modspace.current())
child.ns['noisy'] = Noisy('in a child')
file = open(sys.argv[1], 'w'); file.write('kept')
print('end')";
    let run = run(["run", "-c", program, &file.to_string_lossy()]).succeeded();
    let mut lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines.remove(0), "end");
    lines.sort_unstable();
    assert_eq!(lines, ["gone: a global", "gone: in a child", "gone: in a cycle"], "{}", run.stderr);
    assert_eq!(run.stderr, "");
    assert_eq!(std::fs::read_to_string(&file).expect("the file was written"), "kept");
}

#[test]
fn threads_are_joined_before_the_end() {
    let program = "\
import threading, time, atexit
atexit.register(print, 'atexit')
def work():
    time.sleep(0.2)
    print('thread')
threading.Thread(target=work).start()
print('main')";
    run(["run", "-c", program]).succeeded().stdout_is("main\nthread\natexit\n");
}

#[test]
fn a_manifest_that_cannot_be_used_is_named_with_its_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |text: &str| std::fs::write(directory.path().join("space.toml"), text).expect("a file");
    std::fs::write(directory.path().join("x.py"), "").expect("a file");
    let fails = |text: &str, message: &str| {
        write(text);
        run(["run".as_ref(), directory.path().as_os_str()])
            .failed_with(2)
            .stderr_has("space.toml: ")
            .stderr_has(message);
    };
    fails("name = ", "TOML parse error at line 1");
    fails("entry = 1", "expected a string");
    fails("entry = 'x.py'\ncolour = 'red'", "unknown field `colour`");
    fails("name = 'x'", "has no entry");
    fails("entry = 'absent.py'", "which is not there");
    fails("entry = 'x.py'\ndelegation = 'sideways'", "unknown variant `sideways`");
    fails("entry = 'x.py'\nshare = ['a b']", "is not a module-name pattern");
    fails("entry = 'x.py'\nname = ''", "name must not be empty");
    fails("entry = 'x.py'\n[[space]]\nentry = 'y.py'", "only the program itself has one");
}

#[test]
fn the_tree_shows_spaces_modules_and_origins() {
    let program =
        "import modspace; import json; modspace.ModuleSpace(modspace.current(), name='child').import_('json')";
    run(["tree", "-c", program]).succeeded().stdout_has("── json  frozen").stdout_has("└── child (");
    let report = run(["tree", "--json", "-c", program]).succeeded().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let program = &report["children"][0];
    assert_eq!((report["name"].as_str(), program["name"].as_str()), (Some("root"), Some("-c")));
    let json = program["modules"].as_array().expect("modules").iter().find(|module| module["name"] == "json");
    assert_eq!(json.expect("json is listed")["importers"][0], "__main__");
    assert_eq!(program["children"][0]["name"], "child");
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    run(["completions", "bash"]).succeeded().stdout_has("_modspace");
    run(["man"]).succeeded().stdout_has(".TH modspace");
    run(["--version"]).succeeded().stdout_is(concat!("modspace ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_environment_is_read_as_python_reads_it() {
    let with = |name: &str, value: &str, program: &str| -> String {
        let output = modspace(["run", "-c", program]).env(name, value).output().expect("modspace starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(with("PYTHONPATH", "/one:/two", "import sys; print(sys.path[1:3])"), "['/one', '/two']\n");
    assert_eq!(with("PYTHONHASHSEED", "1", "print(hash('x'))"), with("PYTHONHASHSEED", "1", "print(hash('x'))"));
    assert_eq!(with("PYTHONIOENCODING", "latin-1", "import sys; print(sys.stdout.encoding)"), "latin-1\n");
    assert_eq!(with("PYTHONOPTIMIZE", "1", "assert False; print('on')"), "on\n");
    let flags = "import sys; print(sys.flags.dont_write_bytecode, sys.flags.debug, sys.flags.optimize)";
    for (name, value, expected) in [
        ("PYTHONDONTWRITEBYTECODE", "0", "0 0 0\n"),
        ("PYTHONDONTWRITEBYTECODE", "yes", "1 0 0\n"),
        ("PYTHONDEBUG", "1", "1 1 0\n"),
        ("PYTHONOPTIMIZE", "999", "1 0 2\n"),
    ] {
        let mut command = modspace(["run", "-c", flags]);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env(name, value);
        assert_eq!(
            String::from_utf8_lossy(&command.output().expect("modspace starts").stdout),
            expected,
            "{name}={value}"
        );
    }
}

#[test]
fn a_path_option_is_absolute_and_holds_for_every_kind_of_program() {
    let program = "import os; os.chdir('/'); import raises_nothing; print(raises_nothing.__name__)";
    for extra in [&["--path", "tests/fixtures/programs"][..], &["--root", "--path", "tests/fixtures/programs"]] {
        let mut args = vec!["run"];
        args.extend(extra);
        args.extend(["-c", program]);
        run(&args).succeeded().stdout_is("raises_nothing\n");
    }
    run(["run", "--share", "json", "spaces/examples/manifest"]).failed_with(2).stderr_has("describes its space itself");
}

#[test]
fn finalizers_run_with_their_own_space() {
    let program = "\
import os, modspace
one, two = (modspace.ModuleSpace(modspace.current()) for _ in range(2))
for space in (one, two):
    space.exec('import tempfile; directory = tempfile.TemporaryDirectory()')
names = [space.ns['directory'].name for space in (one, two)]
one.discard()
print([os.path.isdir(name) for name in names])";
    run(["run", "-c", program]).succeeded().stdout_is("[False, True]\n");
}

#[test]
fn a_data_directory_hides_no_package_of_the_parent() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("json")).expect("a directory");
    let program =
        "import modspace, sys; print(modspace.ModuleSpace(path=sys.argv[1:]).import_('json').__file__ is not None)";
    run(["run", "-c", program, &directory.path().to_string_lossy()]).succeeded().stdout_is("True\n");
}

#[test]
fn a_panic_at_the_end_of_a_program_is_no_crash() {
    let trip = "import sys, zlib; sys.modules['zlib'] = object(); zlib.decompress(b'bad')";
    let program = format!(
        "import atexit, sys\ndef trip(*args):\n    {trip}\natexit.register(print, 'last')\natexit.register(trip)"
    );
    run(["run", "-c", &program]).succeeded().stdout_has("last").stderr_has("the virtual machine panicked");
    let program = format!("import sys\ndef trip(*args):\n    {trip}\nsys.excepthook = trip\n1 / 0");
    run(["run", "-c", &program]).failed_with(1);
}

#[test]
fn leaks_are_reported_at_the_end_and_denied_if_asked_to() {
    let leaking = "\
import modspace
space = modspace.ModuleSpace(name='plugin')
space.exec('def f(): return 1')
kept = [space.ns['f']]
space.discard()";
    let report = "held: -c: __main__.kept[0] -> __main__.f";
    run(["run", "--leaks", "-c", leaking]).succeeded().stderr_has(report);
    run(["run", "--deny-leaks", "-c", leaking]).failed_with(1).stderr_has(report);
    run(["run", "--deny-leaks", "-c", "import json"]).succeeded().stderr_has("1 of 1 spaces left nothing behind");
    run(["run", "--deny-leaks", "-c", "import sys; sys.exit(3)"]).failed_with(3);
}
