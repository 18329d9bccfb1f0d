"""One request evaluated without sending it: over the same `mesh` values that Envoy's configuration is made from.

`deciding.decide` is the whole of it. Refuses to read an Envoy message: what proxies do is said here a second time, in
words of the mesh, and a test sends thousands of requests through real proxies to see that both say the same.
"""
