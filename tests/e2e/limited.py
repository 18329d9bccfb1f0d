"""What the tests of rate limits say of answers."""


def statuses(pod, url, times, **more):
    return [pod.http(url, **more)["status"] for _ in range(times)]


def first(allowed, times):
    """So many answered, and the others refused."""
    return [200] * allowed + [429] * (times - allowed)
