"""Uses the official SDK (ctrader-open-api) against the simulator as a client program would.

usage: python_peer.py HOST PORT SYMBOLS

Logs in, reads the reference data, subscribes, and goes on until every kind of event has come; then compares what it
was told with the venue's own history. Prints one line, and exits 1 where something was not as it must be.
"""

import sys
import traceback

from ctrader_open_api import Client, Protobuf, TcpProtocol
from ctrader_open_api.messages.OpenApiMessages_pb2 import (
    ProtoOAAccountAuthReq,
    ProtoOAApplicationAuthReq,
    ProtoOAErrorRes,
    ProtoOAGetAccountListByAccessTokenReq,
    ProtoOAGetTickDataReq,
    ProtoOAGetTrendbarsReq,
    ProtoOASpotEvent,
    ProtoOASubscribeLiveTrendbarReq,
    ProtoOASubscribeSpotsReq,
    ProtoOASymbolByIdReq,
    ProtoOASymbolsListReq,
    ProtoOAUnsubscribeSpotsReq,
    ProtoOAVersionReq,
)
from ctrader_open_api.messages.OpenApiModelMessages_pb2 import BID, M1
from twisted.internet import defer, reactor

HOST, PORT, SYMBOLS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ACCOUNT, TOKEN = 1000001, "sim-token"
WATCHED = ["EURUSD", "XAUUSD", "USDJPY", "US100.cash"]
WITHIN_S = 60


class Peer:
    def __init__(self):
        self.client = Client(HOST, PORT, TcpProtocol)
        self.events = []
        self.enough = None
        self.client.setMessageReceivedCallback(self.received)
        self.client.setConnectedCallback(lambda _: self.live().addBoth(self.finish))
        self.problem = "did not finish in time"

    def received(self, _, message):
        if message.payloadType != ProtoOASpotEvent().payloadType:
            return
        event = Protobuf.extract(message)
        self.events.append(event)
        if self.enough and self.enough[0]():
            enough, self.enough = self.enough, None
            enough[1].callback(None)

    def until(self, true):
        """Waits for events until `true()`."""
        deferred = defer.Deferred()
        self.enough = (true, deferred)
        return deferred

    @defer.inlineCallbacks
    def ask(self, request, **fields):
        answer = yield self.client.send(request(**fields))
        return Protobuf.extract(answer)

    @defer.inlineCallbacks
    def ask_well(self, request, **fields):
        answer = yield self.ask(request, **fields)
        assert not isinstance(answer, ProtoOAErrorRes), f"{request.__name__}: {answer.errorCode}"
        return answer

    @defer.inlineCallbacks
    def live(self):
        answer = yield self.ask(ProtoOASymbolsListReq, ctidTraderAccountId=ACCOUNT)
        assert answer.errorCode == "CH_CLIENT_NOT_AUTHENTICATED", answer
        yield self.ask_well(ProtoOAApplicationAuthReq, clientId="sim-app", clientSecret="sim-secret")
        version, accounts = yield defer.gatherResults(
            [
                self.ask_well(ProtoOAVersionReq),
                self.ask_well(ProtoOAGetAccountListByAccessTokenReq, accessToken=TOKEN),
            ]
        )
        assert version.version
        assert [account.ctidTraderAccountId for account in accounts.ctidTraderAccount] == [ACCOUNT]
        answer = yield self.ask(ProtoOASymbolsListReq, ctidTraderAccountId=ACCOUNT)
        assert answer.errorCode == "INVALID_REQUEST" and "not authorized" in answer.description, answer
        yield self.ask_well(ProtoOAAccountAuthReq, ctidTraderAccountId=ACCOUNT, accessToken=TOKEN)

        listed = yield self.ask_well(ProtoOASymbolsListReq, ctidTraderAccountId=ACCOUNT)
        assert len(listed.symbol) == SYMBOLS, len(listed.symbol)
        ids = {symbol.symbolName: symbol.symbolId for symbol in listed.symbol}
        wanted = [ids[name] for name in WATCHED]
        known = yield self.ask_well(ProtoOASymbolByIdReq, ctidTraderAccountId=ACCOUNT, symbolId=wanted)
        digits = {symbol.symbolId: symbol.digits for symbol in known.symbol}
        assert digits == dict(zip(wanted, [5, 2, 3, 2])), digits

        yield self.ask_well(
            ProtoOASubscribeSpotsReq,
            ctidTraderAccountId=ACCOUNT,
            symbolId=wanted,
            subscribeToSpotTimestamp=True,
        )
        yield self.until(lambda: all(len(self.of(key)) > 40 and self.mixed(key) for key in wanted))
        for key in wanted:
            self.check(self.of(key), digits[key])
        again = yield self.ask(ProtoOASubscribeSpotsReq, ctidTraderAccountId=ACCOUNT, symbolId=[wanted[0]])
        assert again.errorCode == "ALREADY_SUBSCRIBED", again

        yield self.ask_well(
            ProtoOASubscribeLiveTrendbarReq, ctidTraderAccountId=ACCOUNT, period=M1, symbolId=wanted[0]
        )
        yield self.until(lambda: sum(len(event.trendbar) for event in self.of(wanted[0])) > 10)
        for event in self.of(wanted[0]):
            for bar in event.trendbar:
                assert event.HasField("bid") and not bar.HasField("deltaClose") and bar.period == M1, event
                assert bar.low <= event.bid <= bar.low + bar.deltaHigh, event

        bars, _ = yield defer.gatherResults(
            [
                self.ask_well(
                    ProtoOAGetTrendbarsReq,
                    ctidTraderAccountId=ACCOUNT,
                    period=M1,
                    symbolId=wanted[0],
                    fromTimestamp=self.events[-1].timestamp - 600_000,
                    toTimestamp=self.events[-1].timestamp,
                ),
                self.ask_well(ProtoOAUnsubscribeSpotsReq, ctidTraderAccountId=ACCOUNT, symbolId=wanted),
            ]
        )
        assert bars.timestamp and bars.period == M1, bars
        yield self.compare_with_history(wanted[0])

    @defer.inlineCallbacks
    def compare_with_history(self, key):
        """What the venue says it told is what came."""
        told = [(event.timestamp, event.bid) for event in self.of(key)[1:] if event.HasField("bid")]
        # The snapshot sent again for the live bar is a state, not a tick.
        snapshots = [(event.timestamp, event.bid) for event in self.of(key)[1:] if event.HasField("sessionClose")]
        for snapshot in snapshots:
            told.remove(snapshot)
        page = yield self.ask_well(
            ProtoOAGetTickDataReq,
            ctidTraderAccountId=ACCOUNT,
            symbolId=key,
            type=BID,
            fromTimestamp=told[0][0],
            toTimestamp=told[-1][0],
        )
        at = price = 0
        history = []
        for tick in page.tickData:
            at, price = at + tick.timestamp, price + tick.tick
            history.append((at, price))
        assert history and history[::-1] == told[-len(history) :], (history[::-1], told)

    def of(self, key):
        return [event for event in self.events if event.symbolId == key]

    def mixed(self, key):
        kinds = {(event.HasField("bid"), event.HasField("ask")) for event in self.of(key)}
        return kinds == {(True, True), (True, False), (False, True)}

    @staticmethod
    def check(events, digits):
        first, rest = events[0], events[1:]
        assert first.HasField("bid") and first.HasField("ask") and first.HasField("sessionClose"), first
        assert not any(event.HasField("sessionClose") for event in rest)
        times = [event.timestamp for event in events]
        assert times == sorted(times) and times[0] > 1_700_000_000_000, times
        bid, ask, step = 0, 0, 10 ** (5 - digits)
        for event in events:
            assert not event.HasField("payloadType"), "the real server leaves it out"
            bid = event.bid if event.HasField("bid") else bid
            ask = event.ask if event.HasField("ask") else ask
            assert 0 < bid <= ask and bid % step == 0 and ask % step == 0, event
            assert abs(bid - first.sessionClose) < first.sessionClose / 2, event

    def finish(self, result):
        self.problem = "".join(traceback.format_exception(None, result.value, result.getTracebackObject())) \
            if hasattr(result, "getTracebackObject") else None
        reactor.stop()


def main():
    peer = Peer()
    reactor.callLater(WITHIN_S, reactor.stop)
    reactor.callWhenRunning(peer.client.startService)
    reactor.run()
    if peer.problem:
        print(f"failed: {peer.problem}")
        sys.exit(1)
    print(f"ok, {len(peer.events)} events")


if __name__ == "__main__":
    main()
