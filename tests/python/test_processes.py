"""Forks and subprocesses of a program with spaces: each process discards its own."""

import io
import os
import signal
import unittest

from discarding import Discarding


class Processes(Discarding):
    def test_a_fork_with_live_spaces(self):
        done = self.program("""\
            import modspace, os, sys
            spaces = [modspace.ModuleSpace(name=f"s{index}") for index in range(3)]
            for space in spaces:
                space.exec("import json, logging, atexit\\natexit.register(print, 'exit', flush=True)\\n"
                           "def f(): return json.dumps([1])")
            child = modspace.ModuleSpace(spaces[0])
            child.exec("import json")
            pid = os.fork()
            if pid == 0:
                status = 0
                for space in (child, *spaces):
                    report = space.discard()
                    if not report.clean or not space.closed:
                        status = 1
                space = modspace.ModuleSpace()
                space.exec("import json, string")
                if space.eval("json.loads('[1]')") != [1] or space.reload().generation != 2:
                    status = 2
                if not space.discard().clean:
                    status = 3
                sys.stdout.flush()
                os._exit(40 + status)
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            print([space.eval("f()") for space in spaces], [space.closed for space in spaces])
            for space in (child, *spaces):
                space.discard()
            print("parent", len(modspace.spaces()))
            """)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.split("\n"), [
            *["exit"] * 3, "child 40", "['[1]', '[1]', '[1]'] [False, False, False]", *["exit"] * 3, "parent 2", ""])
        self.assertEqual(done.returncode, 0)

    def test_a_fork_with_threads_inside(self):
        done = self.program("""\
            import modspace, os, threading
            space = modspace.ModuleSpace(name="plugins")
            ready, go = threading.Event(), threading.Event()
            space.exec("import json\\ndef work(ready, wait): ready(); wait()")
            thread = threading.Thread(target=space.ns["work"], args=(ready.set, go.wait))
            thread.start()
            ready.wait()
            importer = modspace.ModuleSpace(name="importer")
            pid = os.fork()
            if pid == 0:
                # The thread is not there.
                report = space.discard(timeout=20)
                importer.exec("import json")
                importer.discard()
                os._exit(len(report.threads) + (report.duration > 15))
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), space.closed)
            go.set()
            thread.join()
            print(space.discard().threads)
            """)
        self.assertEqual(done.stdout, "0 False\n[]\n", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_fork_in_a_space(self):
        done = self.program("""\
            import modspace, os
            space = modspace.ModuleSpace(name="plugins")
            space.exec('''if True:
                import os, sys, atexit
                atexit.register(print, "exit", flush=True)
                pid = os.fork()
                if pid == 0:
                    import json
                    os._exit(json.loads("7"))
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                ''')
            print(space.ns["status"], flush=True)
            space.discard()
            """)
        self.assertEqual((done.stdout, done.stderr), ("7\nexit\n", ""))

    def test_a_child_that_ends_as_a_program_does(self):
        done = self.program("""\
            import modspace, os, sys, atexit
            space = modspace.ModuleSpace(name="plugins")
            space.exec("import atexit\\natexit.register(lambda: print('exit', flush=True))")
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                sys.exit(5)
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            """)
        self.assertEqual((done.stdout, done.stderr), ("exit\nchild 5\nexit\n", ""))

    def test_subprocesses(self):
        space = self.space(name="plugins")
        space.exec("import subprocess, sys\ndone = subprocess.run(['echo', 'hello'], capture_output=True, text=True)\n"
                   "process = subprocess.Popen(['sleep', '100'])")
        self.assertEqual(space.ns["done"].stdout, "hello\n")
        pid = space.eval("process.pid")
        space.exec("process.terminate(); process.wait()")
        self.assertTrue(space.discard().clean)
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)

    def test_a_process_left_running(self):
        space = self.space(name="plugins")
        space.sys.stderr = io.StringIO()
        space.exec("import subprocess, warnings\nwarnings.simplefilter('ignore')\n"
                   "process = subprocess.Popen(['sleep', '100'])")
        pid = space.eval("process.pid")
        try:
            self.assertTrue(space.discard().clean)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    unittest.main()
