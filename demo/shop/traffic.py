"""A gentle load: once the shop is open, asks the front some times a second, buys now and then, says how it goes."""

import collections
import os
import random
import time

from shop import serving

WEB = os.environ.get("WEB_URL", "http://web")
RATE = float(os.environ.get("RATE", "4"))  # requests a second
EVERY = float(os.environ.get("SAY_EVERY", "10"))  # seconds


def once(seen: collections.Counter[str]) -> None:
    """One visit. Counts the catalog's version that answered, purchases, and everything that failed."""
    try:
        if random.random() < 0.1:
            item = random.choice(["apple", "bread", "cheese"])
            serving.ask(f"{WEB}/buy?item={item}", data={})
            seen["bought"] += 1
            return
        answers, _ = serving.ask(f"{WEB}/api")
    except serving.ServiceError as error:
        seen["failed"] += 1
        print(f"failed: {error}", flush=True)
        return
    for name, said in answers.items():
        if "error" in said:
            seen[f"failed: {name}"] += 1
            print(f"failed: {name}: {said['error']}", flush=True)
    version = (answers["catalog"].get("answer") or {}).get("version")
    if version:
        seen[f"catalog {version}"] += 1


def closed() -> bool:
    """Whether some service does not answer yet: all start at the same time, and this one asks at once."""
    try:
        answers, _ = serving.ask(f"{WEB}/api")
    except serving.ServiceError:
        return True
    return any("error" in said for said in answers.values())


def main() -> None:
    """Wait until the shop is open, then go on until SIGTERM."""
    serving.end_at_sigterm()
    while closed():
        time.sleep(0.5)
    print("the shop is open", flush=True)
    seen: collections.Counter[str] = collections.Counter()
    said = time.monotonic()
    while True:
        time.sleep(random.expovariate(RATE))
        once(seen)
        if time.monotonic() - said >= EVERY:
            counts = ", ".join(f"{name}: {count}" for name, count in sorted(seen.items()))
            print(f"in {EVERY:g} s: {counts}", flush=True)
            seen.clear()
            said = time.monotonic()


if __name__ == "__main__":
    serving.main_of(main)
