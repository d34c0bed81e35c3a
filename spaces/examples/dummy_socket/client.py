"""The code under test."""

import socket


def ask(address, question):
    """Sends a line and returns the line that comes back."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(question.encode() + b"\n")
        return connection.recv(100).decode().rstrip("\n")


def is_up(host):
    try:
        return bool(ask((host, 80), "?"))
    except OSError:
        return False
