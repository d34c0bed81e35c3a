"""Corrects words by the lists of the space below."""

import importlib

import modspace
from editor.commands import command

[lists] = modspace.current().children


@command
def correct(text):
    with lists:
        words = importlib.import_module("words")
    return " ".join(words.corrections.get(word, word) for word in text.split())
