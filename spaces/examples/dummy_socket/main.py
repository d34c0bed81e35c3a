"""Tests run with a dummy `socket`, while the real one works beside them.

    modspace run spaces/examples/dummy_socket/main.py
"""

import io
import socket
import threading
import types

import client
import modspace
from modspace import ModuleSpace


class Connection:
    """What the dummy's create_connection() returns: it answers everything with the same line."""

    sent = []

    def __init__(self, address, timeout=None):
        if address[0] == "down.example":
            raise ConnectionRefusedError("nobody there")

    def sendall(self, data):
        self.sent.append(data)

    def recv(self, size):
        return b"dummy says hello\n"

    def __enter__(self):
        return self

    def __exit__(self, *error): ...


dummy = types.ModuleType("socket", "A stand-in.")
dummy.create_connection = Connection

# The space finds what the program finds, but its `socket` is the dummy. `client`, which imports socket, is loaded
# there a second time.
space = ModuleSpace(modspace.current(), name="tests")
space.sys.modules["socket"] = dummy
tests = space.import_("test_client")
unittest = space.import_("unittest")
suite = unittest.defaultTestLoader.loadTestsFromModule(tests)
result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
print("tests:", result.testsRun, "run,", len(result.failures) + len(result.errors), "failed")
print("the dummy was sent", Connection.sent)


# Meanwhile, here, a real connection.
def serve(listener):
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"real socket heard " + connection.recv(100))


with socket.create_server(("127.0.0.1", 0)) as listener:
    server = threading.Thread(target=serve, args=(listener,))
    server.start()
    print("answer:", client.ask(listener.getsockname(), "ping"))
    server.join()

print("one client module?", client is space.sys.modules["client"])
print("client here has the", "dummy" if client.socket is dummy else "real", "socket")
print("client there has the", "dummy" if space.sys.modules["client"].socket is dummy else "real", "socket")
