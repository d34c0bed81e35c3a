"""An ordinary test file: it knows nothing of the dummy."""

import unittest

import client


class TestClient(unittest.TestCase):
    def test_ask(self):
        self.assertEqual(client.ask(("any.example", 7), "ping"), "dummy says hello")

    def test_up(self):
        self.assertTrue(client.is_up("any.example"))

    def test_down(self):
        self.assertFalse(client.is_up("down.example"))
