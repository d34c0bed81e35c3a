def get_code(self, fullname):
    code = _code_of_file(self, fullname)
    if code is not None:
        return code
    try:
        return super(SourceFileLoader, self).get_code(fullname)
    finally:
        _code_was_read()


SourceFileLoader.get_code = get_code
SourceFileLoader.get_code.__qualname__ = "SourceFileLoader.get_code"
del get_code
