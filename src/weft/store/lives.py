"""How containers live, and what happened."""

from __future__ import annotations

from weft.core.model.network import Endpoint
from weft.core.model.policy import Policy
from weft.core.model.state import Event, Life
from weft.core.plan.plan import dump_value, load_value
from weft.store import texts
from weft.store.members import Members
from weft.store.schema import one_of, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: How many events are kept, and after how many more it is looked whether there are too many.
KEPT, _SLACK = 4096, 256
_LIFE = "policy, stopped, restarts, backoff, started_at, finished_at, health, failures, said, kept"
_EVENT = "type, action, name, object, time, attributes, id"
_HEALTH = ("", "starting", "healthy", "unhealthy")
#: SQLite's largest integer.
_MOST = 1 << 63
#: What most containers have, ready made.
_PLAIN = dump_value(Policy())
_NONE = dump_value(())


def _life(row: Any) -> Life:
    policy, stopped, restarts, backoff, started, finished, health, failures, said, kept = row
    whole(stopped, 0, 2)
    times = [whole(n, 0, _MOST) for n in (restarts, backoff, started, finished)]
    found = Policy() if policy == _PLAIN else load_value(policy)
    endpoints = () if kept == _NONE else load_value(kept)
    if not isinstance(found, Policy) or not isinstance(endpoints, tuple) or not isinstance(said, str):
        raise ValueError("a life is damaged")
    if not all(isinstance(e, Endpoint) for e in endpoints):
        raise ValueError("an endpoint of an exited container is damaged")
    check = one_of(health, *_HEALTH), whole(failures, 0, _MOST), said
    return Life(found, bool(stopped), times[0], times[1], times[2], times[3], *check, endpoints)


def _event(row: Any) -> Event:
    type, action, name, object, time, attributes, number = row
    if not all(isinstance(text, str) for text in (action, name, object, attributes)):
        raise ValueError("an event is damaged")
    kind = one_of(type, "container", "network")
    return Event(kind, action, name, object, whole(time, 0, _MOST), texts.pairs(attributes), number)


class Lives(Members):
    """The part of the store that knows how containers live."""

    def set_life(self, name: str, life: Life) -> None:
        """Stores how a container lives."""
        policy = _PLAIN if life.policy == Policy() else dump_value(life.policy)
        kept = dump_value(life.kept) if life.kept else _NONE
        row = (name, policy, int(life.stopped), *life._astuple()[2:-1], kept)
        self._db.execute("INSERT OR REPLACE INTO life VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)

    def life(self, name: str) -> Life:
        """How a container lives; of one that has nothing to tell, as all do."""
        row = self._one(f"SELECT {_LIFE} FROM life WHERE container=?", name)
        return self._read(_life_of, row) if row else Life()

    def lives(self) -> dict[str, Life]:
        """All that there is to tell, by container."""
        rows = self._all(f"SELECT container, {_LIFE} FROM life")
        return {name: self._read(_life_of, row) for name, *row in rows}

    def rename_container(self, old: str, new: str) -> None:
        """Another name for one that has exited. Who shares something of it does so by the new name."""
        kept = tuple([e._replace(container=new) for e in self.life(old).kept])
        self._db.execute("UPDATE container SET name=? WHERE name=?", (new, old))
        self._db.execute("UPDATE spec SET container=? WHERE container=?", (new, old))
        self._db.execute(
            "UPDATE life SET container=?, kept=? WHERE container=?",
            (new, dump_value(kept) if kept else _NONE, old),
        )
        self._db.execute("UPDATE container SET mode=? WHERE mode=?", (f"container:{new}", f"container:{old}"))
        donor = f"container:{old}"
        for (name,) in self._all("SELECT container FROM spec WHERE instr(text, ?)", donor):
            if spec := self.spec(name):
                spaces = [
                    n._replace(path=f"container:{new}") if n.path == donor else n for n in spec.namespaces
                ]
                self.set_spec(name, spec._replace(namespaces=tuple(spaces)))

    def add_events(self, events: Iterable[Event]) -> None:
        """Puts down what happened, in a transaction; the oldest go where there are too many."""
        rows = [(e.time, e.type, e.action, e.name, e.id, texts.join(e.attributes)) for e in events]
        if not rows:
            return
        self._db.executemany(
            "INSERT INTO event (time, type, action, name, object, attributes) VALUES (?,?,?,?,?,?)", rows
        )
        last = int(self._one("SELECT max(id) FROM event")[0])
        if last % _SLACK < len(rows):
            self._db.execute("DELETE FROM event WHERE id<=?", (last - KEPT,))

    def events(self, after: int = 0) -> list[Event]:
        """What happened since an event of this number, in order."""
        rows = self._all(f"SELECT {_EVENT} FROM event WHERE id>? ORDER BY id", after)
        return [self._read(_event, row) for row in rows]

    def touched(self, after: int) -> tuple[int, frozenset[str] | None]:
        """The number of the last event, and the containers that something happened to since that one; None
        when some of those events are not kept any more."""
        first, last = self._one("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM event")
        if first > after + 1 or last < after:
            return last, None
        rows = self._all("SELECT type, name, attributes FROM event WHERE id>?", after)
        plain = [name for kind, name, _ in rows if kind == "container"]
        members = [
            dict(texts.pairs(text)).get("container", "") for kind, _, text in rows if kind == "network"
        ]
        return last, frozenset([*plain, *members]) - {""}

    def last_event(self, name: str, action: str) -> Event | None:
        """The last that happened of this kind to a container."""
        where = "type='container' AND name=? AND action=? ORDER BY id DESC LIMIT 1"
        row = self._one(f"SELECT {_EVENT} FROM event WHERE {where}", name, action)
        return self._read(_event, row) if row else None


def _life_of(row: Any) -> Life:
    try:
        return _life(row)
    except SyntaxError as error:
        raise ValueError(str(error)) from None
