def get_code(self, fullname):
    code = _code_of_file(self, fullname)
    return super(SourceFileLoader, self).get_code(fullname) if code is None else code


SourceFileLoader.get_code = get_code
SourceFileLoader.get_code.__qualname__ = "SourceFileLoader.get_code"
del get_code
