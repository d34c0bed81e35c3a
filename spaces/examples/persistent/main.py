"""A package lives in a store, and changes while objects of it are in use.

    modspace run spaces/examples/persistent/main.py
"""

import os
import tempfile

from modspace import ModuleSpace, Store, UpdateError, current

PRICES = """\
RATE = {rate}

class Item:
    def __init__(self, name, net):
        self.name, self.net = name, net
    def label(self):
        return f"{{self.name}}: {{{gross}}}"
"""

directory = tempfile.TemporaryDirectory()
store = Store.open(os.path.join(directory.name, "shop.store"))
with store.transaction(message="the shop opens", author="Ann") as change:
    change.new("shop.prices", PRICES.format(rate=10, gross="self.net + RATE"))
    change.new("shop.invoice", "from .prices import RATE\n\ndef footer():\n    return f'rate {RATE}'\n")

space = ModuleSpace(current(), name="shop")
space.attach(store)
prices, invoice = space.import_("shop.prices"), space.import_("shop.invoice")

# What a program holds of the package: an instance, a bound method, a function that uses an imported constant.
tea = prices.Item("tea", 100)
label, footer = tea.label, invoice.footer
print("before:", label(), "|", footer())

with store.transaction(message="a rate is per cent", author="Bob") as change:
    change.update("shop.prices", PRICES.format(rate=20, gross="self.net * (100 + RATE) // 100"))
print("committed:", label(), "|", footer())

report = space.sync()
print("synced:", label(), "|", footer())
print("updated", report.updated, "rebound", report.rebound)
print("one class?", type(tea) is prices.Item)

# A source that fails when it runs is in the store, and changes nothing in the space.
good = store.head()
bad = store.update_module("shop.prices", "RATE = 1 / 0\n", message="a slip", author="Bob")
try:
    space.sync()
except UpdateError as error:
    print(f"refused: {error} ({error.__cause__})")
print("as before:", label(), "|", footer())

# What was done stays in the history; undoing it is one more commit.
store.undo(bad, author="Ann")
store.undo(good, author="Ann")
space.sync()
print("undone:", label(), "|", footer())
for commit in reversed(store.log()):
    print("   ", commit.author, "-", commit.message.replace(bad[:12], "BAD").replace(good[:12], "GOOD"))
