"""What `retic check` asks a cluster: a catalogue of checks, and a probe for each. Changes nothing there."""
