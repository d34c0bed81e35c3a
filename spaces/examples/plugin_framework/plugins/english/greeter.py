import framework


def run(name):
    return f"Good day, {name}!"


framework.register("english greeter", run)
