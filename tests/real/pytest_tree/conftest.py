import pytest

pytest_plugins = ["pytester", "helper_plugin"]


@pytest.fixture(scope="module")
def numbers():
    values = [1, 2, 3]
    yield values
    values.clear()


@pytest.fixture(params=["small", "large"], ids=str.upper)
def size(request):
    return request.param
