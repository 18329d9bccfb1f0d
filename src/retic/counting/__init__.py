"""Global rate limits: the service that proxies ask (Envoy's rate-limit protocol), and where it counts.

    counted = service.Service(embedded.Embedded(), known, identify)
    rpc.add_generic_rpc_handlers((counted.handlers(),))

It counts in fixed windows, each of which begins with its first request. `store` says what a place to count in must do,
`embedded` and `redis_store` do it. Refuses to know what limits mean: what is allowed is told to it by name.
"""
