import framework


def run(name):
    return f"Bonjour, {name} !"


framework.register("french greeter", run)
