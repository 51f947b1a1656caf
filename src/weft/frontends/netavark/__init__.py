"""The door for Podman: netavark's command line, input, output and errors (docs/podman.md)."""
