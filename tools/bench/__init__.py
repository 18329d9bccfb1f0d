"""`make bench`: Retic measured beside no mesh and a pair of Envoys configured by hand, in one interleaved run.

`python -m tools.bench [--quick] [--only NAME] [--write]`, from the repository's root. All traffic stays in
network namespaces that the bench or the mesh makes; the machine's own are not touched. It measures and
reports; it judges nothing but the aims that docs/benchmarks.md states.
"""
