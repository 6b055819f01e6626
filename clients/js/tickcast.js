// Tickcast in a browser (or in Node, with a WebSocket given): live prices that go on where they stopped.

import { Core } from './core.js';

export class Tickcast extends Core {
  constructor(url = '.', { transports = ['websocket', 'events'], ...env } = {}) {
    super({ ...around(), ...env }, [url].flat().map(address), transports);
  }

  /** One symbol, a list of them, or `{ symbols, source, mode, minIntervalMs, onSlow }`. */
  subscribe(what, listener) {
    return super.subscribe(what.symbols ? what : { symbols: what }, listener);
  }
}

/** The WebSocket address of a gateway, however it was given. */
function address(url) {
  const full = new URL(url, globalThis.location?.href);
  full.protocol = full.protocol.replace('http', 'ws');
  full.pathname = full.pathname.replace(/(\/ws)?\/?$/, '/ws');
  full.hash = '';
  return full.href;
}

/** The world as the page has it. */
function around() {
  const page = globalThis.document, on = globalThis.addEventListener;
  return {
    now: () => performance.now(),
    wall: () => Date.now(),
    setTimeout: (run, ms) => setTimeout(run, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    random: Math.random,
    hidden: () => page?.visibilityState === 'hidden',
    report: globalThis.reportError ?? ((error) => queueMicrotask(() => { throw error; })),
    WebSocket: globalThis.WebSocket,
    fetch: (...all) => fetch(...all),
    socket(kind, url, handlers) {
      const { open, message, close } = handlers;
      if (kind !== 'websocket') {
        // Few need it, so it is loaded by whoever does.
        let socket, isClosed = false;
        import('./tickcast-http.js').then(({ HttpSocket }) => { if (!isClosed) socket = new HttpSocket(this, kind, url, handlers); }).catch((error) => close(1006, String(error)));
        return { send: (text) => socket.send(text), close: () => { isClosed = true; socket?.close(); } };
      }
      const socket = new this.WebSocket(url);
      socket.onopen = open;
      socket.onmessage = (event) => message(event.data);
      socket.onclose = (event) => close(event.code, event.reason);
      socket.onerror = () => {};
      return socket;
    },
    listen({ online, look }) {
      if (!page || !on) return () => {};
      on('online', online);
      page.addEventListener('visibilitychange', look);
      return () => { removeEventListener('online', online); page.removeEventListener('visibilitychange', look); };
    },
  };
}
