// The cards of the venues: what a newcomer should read first, the three axes, and what can be done.

import { $, count, duration, el, mark, put, say } from './page.js';

/**
 * Gives what paints a venue's card. It is given the page's `rows`, its clocks `local` and `serverNow`, words of time `countdown` and
 * `opening`, whether the gateway `isOpen`, `tallyOf` rows, `choose` to add or remove symbols of which `rowsMax` fit, `askOf` a
 * venue for a name, and `mounted` to be told that a venue is new or takes names another way.
 */
export function venueCards({ rows, local, serverNow, countdown, opening, isOpen, tallyOf, choose, rowsMax, askOf, mounted }) {
  /** What a newcomer should read first about a venue: tone, headline, what to do. */
  function describe(venue) {
    const { link: state, auth, data, causeCode } = venue.health, name = venue.source;
    const next = venue.retryAt > local() ? `, next try in ${countdown(venue.retryAt)}` : '';
    const nth = venue.attempt ? `, attempt ${venue.attempt}` : '';
    if (!state) return ['idle', venue.text || `Waiting for news of ${name}`, ''];
    if (causeCode === 'bus_down') return ['bad', 'The gateway cannot reach the message bus', 'Is nats-server running? This page goes on by itself.'];
    if (causeCode === 'ingest_gone') return [venue.seenUp ? 'bad' : 'idle', `No ingest for ${name} is running`, `Start ingest-${name}; its prices appear by themselves.`];
    if (auth === 'refused') return ['bad', `The venue refused the credentials${next}`, `Check the credentials in the settings of ingest-${name}.`];
    if (state === 'down') return ['bad', next || nth ? `Reconnecting${nth}${next}` : 'Not connected to the venue', ''];
    if (state === 'connecting') return ['wait', nth ? `Reconnecting${nth}, trying now` : 'Connecting to the venue', ''];
    if (auth === 'pending') return ['wait', nth ? `Reconnecting${nth}, logging in` : 'Logging in at the venue', ''];
    if (data === 'stale') return ['wait', 'Connected, but no prices arrive', 'Click a symbol to see why.'];
    if (causeCode === 'market_closed') {
      const opens = [...rows.values()].filter((row) => row.source === name && row.state === 'closed' && row.until).map((row) => row.until);
      return ['good', 'Connected, the markets are closed', opens.length ? `The next opens ${opening(Math.min(...opens))}.` : ''];
    }
    if (data === 'live') return ['good', 'Prices are flowing', ''];
    return ['good', 'Connected, nothing is subscribed yet', ''];
  }

  const TONES = { up: 'good', ok: 'good', live: 'good', connecting: 'wait', pending: 'wait', stale: 'wait', down: 'bad', refused: 'bad' };
  const GLYPHS = { good: '●', wait: '◑', bad: '▲', idle: '○' };

  function mountVenue(venue) {
    const ui = venue.ui = { word: el('span', { className: 'word' }), size: el('span', { className: 'size muted' }), head: el('p', { className: 'head' }), hint: el('p', { className: 'hint muted' }), axes: {} };
    const axis = (name, label) => {
      const value = el('b'), glyph = el('i'), since = el('span', { className: 'since' });
      glyph.setAttribute('aria-hidden', 'true');
      const box = el('div', { className: 'axis' }, el('dt', {}, label), el('dd', {}, glyph, ' ', value, since));
      ui.axes[name] = { box, value, glyph, since };
      return box;
    };
    const button = (label, take) => el('button', { type: 'button', onclick: () => { const names = take([...venue.names.keys()]); choose(venue.source, names, true); say(`${names.length} symbols chosen.`); } }, label);
    ui.first = button('Subscribe first 20', (names) => names.slice(0, 20));
    ui.all = button('All', (names) => names.slice(0, rowsMax));
    ui.ask = el('button', { type: 'button', onclick: () => askOf(venue.source) }, 'Add by name');
    ui.none = el('button', { type: 'button', onclick: () => choose(venue.source, [...rows.values()].filter((row) => row.source === venue.source).map((row) => row.symbol), false) }, 'None');
    ui.acts = el('div', { className: 'acts' }, ui.first, ui.all, ui.ask, ui.none);
    ui.card = el('article', { className: 'venue' }, el('div', { className: 'top' }, el('h3', {}, venue.source), ui.word, ui.size), ui.head, ui.hint, el('dl', {}, axis('link', 'Link'), axis('auth', 'Login'), axis('data', 'Data')), ui.acts);
    ui.card.dataset.source = venue.source;
    $('venues').querySelector('.empty')?.remove();
    $('venues').append(ui.card);
    mounted();
  }

  function paintVenue(venue) {
    if (!venue.ui) mountVenue(venue);
    const { ui, health } = venue, known = isOpen();
    const [tone, head, hint] = known ? describe(venue) : ['idle', 'Not known while this page is not connected', 'The last word was:'];
    const chosen = [...rows.values()].filter((row) => row.source === venue.source);
    const cause = known && tone !== 'good' && tone !== 'idle' && health.cause && !['ingest_gone', 'bus_down'].includes(health.causeCode) ? `Cause: ${health.cause}.` : '';
    const tally = tone === 'good' && chosen.length ? `${count(chosen.length)} chosen: ${tallyOf(chosen)}.` : '';
    mark(ui.card, 'tone', tone); mark(ui.card, 'status', venue.word);
    put(ui.word, venue.word); put(ui.head, head); put(ui.hint, [cause, hint, tally].filter(Boolean).join(' '));
    put(ui.size, venue.open ? 'any name' : venue.names.size ? `${count(venue.names.size)} symbols` : '');
    for (const name of ['link', 'auth', 'data']) {
      const { box, value, glyph, since } = ui.axes[name], word = health[name] ?? 'unknown', axisTone = TONES[word] ?? 'idle', at = health[`${name}Since`] ?? health.since;
      // Without a connection nothing is known, and a venue nobody runs is no alarm.
      mark(box, 'tone', known && (tone !== 'idle' || axisTone !== 'bad') ? axisTone : 'idle');
      put(value, word); put(glyph, GLYPHS[box.dataset.tone]);
      put(since, at ? `for ${duration(serverNow() - at)}` : '');
    }
    ui.acts.hidden = !venue.names.size && !venue.open && !chosen.length;
    ui.first.hidden = venue.names.size <= 20;
    ui.all.hidden = !venue.names.size; ui.ask.hidden = !venue.open;
    if (ui.wasOpen !== venue.open) { ui.wasOpen = venue.open; mounted(); }
    put(ui.all, venue.names.size > rowsMax ? `First ${count(rowsMax)}` : `All ${count(venue.names.size)}`);
    ui.none.hidden = !chosen.length;
    const spoken = `${venue.source}: ${head.replace(/, (attempt|next try) .*/, '')}.`;
    if (isOpen() && venue.said !== spoken) { if (venue.said || tone !== 'good') say(spoken); venue.said = spoken; }
  }

  return paintVenue;
}
