// Tickcast in a browser (or in Node, with a WebSocket given): live prices that go on where they stopped.

import { Core } from './core.js';

export class Tickcast extends Core {
  constructor(url = '.', { transports = ['websocket', 'events', 'polling'], ...env } = {}) {
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
  const page = globalThis.document;
  let fails = 0;
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
    load: (module) => import(module),
    socket(kind, url, handlers) {
      if (kind === 'websocket' && !this.binary) return this.web(url, handlers);
      // Few need these, so they are loaded by whoever does. A page never asks again for a module it could not load, so its name changes.
      const isWeb = kind === 'websocket';
      let socket, isClosed = false;
      this.load(`./tickcast-${isWeb ? 'bin' : 'http'}.js${fails ? `?${fails}` : ''}`).then(({ BinaryReader, HttpSocket }) => {
        if (!isClosed) socket = isWeb ? this.web(url, handlers, new BinaryReader()) : new HttpSocket(this, kind, url, handlers);
      }, (error) => {
        fails++;
        // Without what reads binary ticks: the same in JSON.
        if (isWeb) this.binary = false;
        handlers.close(1006, String(error), true);
      }).catch((error) => handlers.close(1006, String(error)));
      return { send: (text) => socket.send(text), close: () => { isClosed = true; socket?.close(); } };
    },
    web(url, { open, message, close }, reader) {
      const socket = new this.WebSocket(url, reader ? ['tickcast.v1.bin', 'tickcast.v1.json'] : []);
      socket.binaryType = 'arraybuffer';
      socket.onopen = open;
      socket.onmessage = ({ data }) => {
        if (typeof data === 'string' || !reader) return message(data);
        try {
          for (const tick of reader.read(data)) message(tick);
        } catch (error) {
          // Bytes that cannot be read: the same in JSON.
          this.binary = false;
          socket.close();
          close(1006, String(error));
        }
      };
      socket.onclose = (event) => close(event.code, event.reason);
      socket.onerror = () => {};
      return socket;
    },
    listen({ online, look }) {
      if (!page) return () => {};
      addEventListener('online', online);
      page.addEventListener('visibilitychange', look);
      return () => { removeEventListener('online', online); page.removeEventListener('visibilitychange', look); };
    },
  };
}
