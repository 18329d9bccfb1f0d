"""How an endpoint is chosen, and what bounds the choice: DestinationRules in words. Refuses to say which it will be."""

from collections.abc import Iterator

from retic import findings
from retic.explain.request.answer import Step
from retic.explain.request.world import World
from retic.mesh import destination, destinations, service, services, tables


def steps(world: World, view: destinations.View, *, is_http: bool) -> list[Step]:
    """What holds at the port for these callers; nothing where no DestinationRule does and no subset is asked for."""
    held = world.db.ask(destinations.held, view.called)
    policy = world.db.ask(destinations.policy, view)
    if policy is None:
        text = f"no DestinationRule says what subset {view.subset} of {view.port.name} is: the proxy answers 503"
        return [world.step("balancer", text, findings.Ref("Service", view.port.namespace, view.port.name))]
    if held is None:
        return []
    at = _source(world, held, view)
    words = "; ".join(_words(policy, is_http=is_http))
    return [world.step("balancer", words, *at)]


def members(world: World, view: destinations.View) -> tuple[service.Endpoint, ...]:
    """The endpoints of the port, or of the subset, ready or not."""
    every = world.db.ask(services.endpoints, view.port)
    held = world.db.ask(destinations.held, view.called) if view.subset else None
    subset = held.subset(view.subset) if held is not None else None
    return every if subset is None else tuple(e for e in every if destinations.is_in(world.db, subset, e))


def _source(world: World, held: destinations.Held, view: destinations.View) -> tuple[findings.Ref, str]:
    """The rule, and the field of it, that says the most of this port."""
    origin = held.policy or held.origins[0]
    for each in held.origins if view.subset else ():
        number = _index(world, each, view.subset)
        if number is not None:
            return each, f"spec.subsets[{number}]"
    ports = [number for number, _ in held.levels.ports]
    if view.port.port in ports:
        return origin, f"spec.trafficPolicy.portLevelSettings[{ports.index(view.port.port)}]"
    return origin, "spec.trafficPolicy" if held.policy is not None else ""


def _index(world: World, ref: findings.Ref, subset: str) -> int | None:
    found = world.db.get(tables.DESTINATION_RULES, tables.Key(ref.namespace, ref.name))
    names = [each.name for each in found.spec.subsets] if found is not None else []
    return names.index(subset) if subset in names else None


def _words(policy: destination.Policy, *, is_http: bool) -> Iterator[str]:
    balancer = policy.balancer or destination.Balancer()
    by = f" by {balancer.hash}" if balancer.hash is not None else ""
    yield f"{balancer.algorithm.value}{by}"
    if balancer.warm_up is not None:
        yield f"a new pod gets more and more for {balancer.warm_up.seconds:g} s"
    if balancer.localities is not None:
        yield _localities(balancer.localities)
    if policy.pool is not None:
        yield from _bounds(policy.pool, is_http=is_http)
    if policy.outliers is not None:
        yield from _ejected(policy.outliers)
    if policy.is_encrypted:
        yield "never in plaintext"


def _localities(said: destination.Localities) -> str:
    if not said.is_preferred:
        return "no zone goes before another"
    if said.shares:
        each = (f"from {s.caller} " + ", ".join(f"{share} % to {to}" for to, share in s.to) for s in said.shares)
        return "; ".join(each)
    if said.labels:
        each = (f"{name}={value}" if value else f"the same {name}" for name, value in said.labels)
        return f"first who has {', '.join(each)}"
    return "the caller's zone first, then its region" if said.by_region else "the caller's zone first"


def _bounds(pool: destination.Pool, *, is_http: bool) -> Iterator[str]:
    bounds = [(pool.connections, "connections")]
    if is_http:
        bounds += [(pool.pending, "requests waiting for one"), (pool.requests, "requests"), (pool.retries, "retries")]
    told = [f"{number} {what}" for number, what in bounds if number is not None]
    if told:
        yield f"at most {', '.join(told)} at once"
    if is_http and pool.per_connection is not None:
        yield f"{pool.per_connection} requests to a connection"


def _ejected(said: destination.Outliers) -> Iterator[str]:
    counts = (
        (said.errors, "answers of 5xx"), (said.gateway_errors, "answers of 502, 503 and 504"),
        (said.local, "failures to connect"),
    )  # fmt: skip
    told = [f"{number} {what}" for number, what in counts if number]
    yield f"a pod is left out for a while after {' or '.join(told)} in a row" if told else "pods that fail are left out"
