"""What is answered to a DNS message: from the zone, by asking others, or why not."""

from __future__ import annotations

from weft.core.wire import dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from weft.core.naming.zone import View, Zone
    from weft.core.wire.dns import Question
    from weft.services.dns_forward import Forwarder

    Reply = Callable[[bytes], None]

#: Encoded answers kept in all, and the longest query that one is kept for.
_KEPT, _LONG = 8192, 300
_LARGEST = 65535
#: Unusual messages a second that are looked at closely.
_PATIENCE = 200


class Desk:
    """Answers messages. ``forwarder`` asks others, ``forget`` drops the answers that are kept, ``clock``
    counts seconds."""

    __slots__ = ("_clock", "_forwarder", "_kept", "_odds", "_second", "_turn", "forget", "zone")

    def __init__(
        self, zone: Zone, forwarder: Forwarder, forget: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self.zone = zone
        self._forwarder = forwarder
        self._kept = 0
        self._turn = 0
        self._clock = clock
        self._second = self._odds = 0
        self.forget = forget

    def handle(self, message: bytes, view: View, source: str, stream: bool, reply: Reply) -> None:
        """Answers one message by ``reply``, now or later; never what is itself an answer. ``stream``: by TCP,
        where nothing is too long."""
        if len(message) < dns.HEADER or dns.is_response(message):
            return
        if view.refused:
            reply(dns.refusal(message, dns.REFUSED))
            return
        try:
            question = dns.read(message)
        except dns.Odd:
            self._odd(message, view, source, stream, reply)
            return
        if question.version:
            reply(dns.answer(message, question, dns.BADVERS, (), _LARGEST))
            return
        if question.type == dns.AXFR or question.type == dns.AXFR - 1:
            reply(dns.failure(message, question.end, dns.REFUSED))
            return
        records = self.zone.find(view, question.name, question.type)
        if records is None:
            self._elsewhere(message, question, view, source, stream, reply)
            return
        if len(records) > 1:  # each time another one is first
            self._turn += 1
            place = self._turn % len(records)
            records = records[place:] + records[:place]
        limit = _LARGEST if stream else question.size
        found = dns.answer(message, question, dns.NOERROR, records, limit)
        if not stream and len(records) < 2:
            self._keep(message, question, view, found)
        reply(found)

    def _keep(self, message: bytes, question: Question, view: View, found: bytes) -> None:
        """The next such query is answered without any of this."""
        if len(message) > _LONG or dns.options_length(message, question):
            return
        if self._kept >= _KEPT:
            self._kept = 0
            self.forget()
        self._kept += 1
        view.answers[message[2:]] = found[2:]

    def _elsewhere(
        self, message: bytes, question: Question, view: View, source: str, stream: bool, reply: Reply
    ) -> None:
        """A name that none of ours has."""
        if not view.forwards or self.zone.is_private(question.name):
            found = dns.answer(message, question, dns.NXDOMAIN, (), _LARGEST)
            if not stream:
                self._keep(message, question, view, found)
            reply(found)
            return
        size = _LARGEST if stream else question.size

        def relay(answer: bytes) -> None:
            reply(answer if len(answer) <= size else dns.cut(answer, question.end))

        if not self._forwarder.ask(message, question, view.upstreams, source, stream, relay):
            reply(dns.failure(message, question.end, dns.SERVFAIL))

    def _is_patient(self) -> bool:
        """Whether there were few such messages this second: a flood of them is answered the short way."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._odds = second, 0
        self._odds += 1
        return self._odds <= _PATIENCE

    def _odd(self, message: bytes, view: View, source: str, stream: bool, reply: Reply) -> None:
        """What is not one plain question: see services/dns_odd."""
        from weft.services import dns_odd

        found = dns_odd.read(message, self._is_patient())
        if isinstance(found, bytes):
            reply(found)
            return
        records = self.zone.find(view, found.name, found.type)
        if records is None:
            self._elsewhere(message, found, view, source, stream, reply)
        else:
            limit = _LARGEST if stream else found.size
            reply(dns.answer(message, found, dns.NOERROR, records, limit))
