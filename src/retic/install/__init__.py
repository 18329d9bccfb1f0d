"""Getting Retic onto a cluster and off it again: what is installed, how it is applied, what `retic check` asks.

`parts` states every object once, as a tree with places for values (`template`). `manifest.render` fills the
places; `chart` writes the same trees as a Helm chart, so the two cannot differ. `apply`, `upgrade` and
`uninstall` bring them to an API server; `checks` look at a cluster and change nothing in it.
"""
