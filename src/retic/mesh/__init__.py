"""What the objects mean: services, workloads, endpoints, routes, gateways, as Envoy-neutral frozen values.

Queries and values only: no input or output, no clock, no log. Nothing here knows a proxy's configuration.
"""
