"""Small servers for tests and benchmarks: `python -m retic.testing.apps.NAME --port N`.

Each prints `listening HOST:PORT` once it accepts connections, says what it saw of a request, and takes its
name and version from `--name` and `--version` or the environment (NAME, VERSION). None is for production.
"""
