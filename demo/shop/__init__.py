"""The shop: a handful of small services that talk HTTP, gRPC and TCP to each other.

They know nothing of a mesh. Each is started as `python3 -m shop.NAME`, is configured by environment
variables, and needs the standard library only, but for cart and orders, which need grpcio.
"""
