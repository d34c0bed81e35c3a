from editor.commands import command


@command
def upper(text):
    return text.upper()
