"""A Kubernetes API server: its client, and the reflector that brings its objects into a sink.

    async with await api.connect() as cluster:
        pods = await cluster.get("/api/v1/namespaces/shop/pods")

Reads kubeconfig files as kubectl does. Refuses to judge what objects mean, and writes only what it is given.
"""

from retic.sources.api.client import Api, connect
from retic.sources.api.editing import edit
from retic.sources.api.errors import ApiError, Error, UnreachableError
from retic.sources.api.reflector import reflect
from retic.sources.api.resources import Resource

__all__ = ["Api", "ApiError", "Error", "Resource", "UnreachableError", "connect", "edit", "reflect"]
