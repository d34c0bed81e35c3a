"""Which files there are to run."""

import os


class Search:
    """Looks for test files as pytest does, without looking into them."""

    def __init__(self, session, options):
        self.session = session
        self.config = session.config
        self.shard = options["shard"]

    def files(self):
        """The test files, each with the arguments that lead to its tests."""
        hook = self.config.hook
        quiet = [hook.pytest_collection_modifyitems, hook.pytest_collection_finish]
        saved = [list(caller._hookimpls) for caller in quiet]
        selectors = {}
        try:
            for caller in quiet:
                caller._hookimpls[:] = []
            for argument in self.config.args:
                place = argument.partition("::")[0]
                file = os.path.join(self.config.invocation_params.dir, place)
                # What a file has is seen when it is run.
                for path in [os.path.normpath(file)] if os.path.isfile(file) else self.files_of(place):
                    arguments = selectors.setdefault(path, [])
                    if argument not in arguments:
                        arguments.append(argument)
        finally:
            for caller, implementations in zip(quiet, saved):
                caller._hookimpls[:] = implementations
        return self.failed(self.part([(arguments, path) for path, arguments in selectors.items()]))

    def files_of(self, argument):
        from _pytest import nodes
        from _pytest.runner import collect_one_node

        waiting = list(self.session.perform_collect([argument], genitems=False))
        while waiting:
            node = waiting.pop(0)
            if isinstance(node, nodes.File):
                yield str(node.path)
            elif isinstance(node, nodes.Collector):
                report = collect_one_node(node)
                if report.failed:
                    node.ihook.pytest_collectreport(report=report)
                else:
                    waiting[:0] = report.result

    def part(self, files):
        """Those of the chosen part: by the files' names alone, so that all machines have the same parts."""
        if self.shard is None:
            return files
        number, count = self.shard
        own = {path for path in sorted(path for _, path in files)[number - 1::count]}
        return [(arguments, path) for arguments, path in files if path in own]

    def failed(self, files):
        """`--lf` and `--ff`, as far as they are about files; pytest does the rest within a file."""
        only, first = self.config.getoption("lf", False), self.config.getoption("failedfirst", False)
        if not only and not first:
            return files
        last = self.config.cache.get("cache/lastfailed", {})
        failed = {str(self.config.rootpath / name.partition("::")[0]) for name in last}
        if only and any(path in failed for _, path in files):
            files = [(arguments, path) for arguments, path in files if path in failed]
        return sorted(files, key=lambda file: file[1] not in failed)
