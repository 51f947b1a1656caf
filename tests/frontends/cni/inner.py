"""Inside a machine: many calls of plug-ins in one interpreter. stdin: lines of [plugin, env, text or hex]."""

from __future__ import annotations

import json
import posix
import sys

sys.path.insert(0, sys.argv[1])

from weft.frontends.cni.main import main

for line in sys.stdin:
    plugin, env, text, raw = json.loads(line)
    for name in [n for n in posix.environ if n.startswith(b"CNI_")]:
        del posix.environ[name]
    posix.environ.update({k.encode(): v.encode("utf-8", "surrogateescape") for k, v in env.items()})
    status, said = main(plugin, bytes.fromhex(raw) if raw else text.encode("utf-8", "surrogatepass"))
    print(json.dumps([status, said]), flush=True)
