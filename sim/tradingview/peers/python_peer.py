"""Uses tradingview-scraper against the simulator as a client program would.

usage: python_peer.py HOST PORT

StreamHandler takes an address. RealTimeData does not: its connect function is replaced by one that only changes the
address, and its pause of a second for each message is left out. Prints one line, and exits 1 where something was not
as it must be.
"""

import json
import logging
import re
import sys
import time

from tradingview_scraper.symbols.stream import StreamHandler, price
from websocket import WebSocketConnectionClosedException, create_connection

URL = f"ws://{sys.argv[1]}:{sys.argv[2]}/socket.io/websocket?from=screener%2F"
WITHIN_S = 60
WATCHED = ["OANDA:EURUSD", "KRX:005930", "NASDAQ:NDX"]


def here(url, **options):
    assert url.startswith("wss://data.tradingview.com/"), url
    return create_connection(URL, timeout=WITHIN_S, **options)


def quotes():
    """Watches by the package's own start-up, hibernation included, until all has come."""
    price.create_connection = here
    price.sleep = lambda _: None
    data = price.RealTimeData().get_latest_trade_info(WATCHED)
    extended = "=" + json.dumps(
        {"adjustment": "splits", "currency-id": "USD", "session": "regular", "symbol": WATCHED[0]}
    )
    keys = [extended, *WATCHED]
    merged, count, completed = {key: {} for key in keys}, dict.fromkeys(keys, 0), set()
    greeting = next(data)
    assert "session_id" in greeting and "m" not in greeting, greeting
    until = time.monotonic() + WITHIN_S
    for packet in data:
        assert time.monotonic() < until, (count, completed)
        if packet["m"] == "quote_completed":
            completed.add(packet["p"][1])
        elif packet["m"] == "qsd":
            quote = packet["p"][1]
            assert quote["s"] == "ok", quote
            merged[quote["n"]].update(quote["v"])
            count[quote["n"]] += 1
        if completed == set(keys) and min(count.values()) > 10:
            break
    data.close()
    assert abs(merged[extended]["lp"] - 1.08421) < 0.01, merged
    assert merged["KRX:005930"]["local_description"] == "삼성전자"
    assert merged["NASDAQ:NDX"]["update_mode"] == "delayed_streaming_900"
    assert merged["NASDAQ:NDX"]["volume"] == 1e100 and merged["NASDAQ:NDX"]["rtc"] is None
    assert all("bid" not in values for values in merged.values()), "not among the fields it asks for"
    return sum(count.values())


def refused():
    """A token that is not good is said to be bad, and the connection ends."""
    handler = StreamHandler(websocket_url=URL, jwt_token="not-this-one")
    handler.ws.settimeout(WITHIN_S)
    said = []
    try:
        while message := handler.ws.recv():
            said += [json.loads(part) for part in re.split(r"~m~\d+~m~", message) if part.startswith("{")]
    except (WebSocketConnectionClosedException, ConnectionError):
        pass
    assert said[-1] == {"m": "protocol_error", "p": ["bad auth token"]}, said


def main():
    logging.disable()
    try:
        count = quotes()
        refused()
    except Exception as problem:  # whatever it is, it is the result
        logging.disable(logging.NOTSET)
        logging.exception("failed")
        print(f"failed: {problem!r}")
        sys.exit(1)
    print(f"ok, {count} quotes")


if __name__ == "__main__":
    main()
