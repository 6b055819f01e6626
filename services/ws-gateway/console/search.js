// The search: a combobox over the lists of the venue picked, or of all; a venue without a list takes any name.

import { $, count, el, lookup, put, say } from './page.js';

const FOUND_MAX = 50;

/**
 * Brings the search to life. It is given the page's `venues` and `rows`, `keyOf` a row, `choose` to add or remove a symbol, `fullName`
 * of what was found, and `fetchNames` to ask a venue for names like these.
 */
export function startSearch({ venues, rows, keyOf, choose, fullName, fetchNames }) {
  const search = { of: $('of'), input: $('search'), list: $('found'), box: $('found-box'), hits: [], on: -1, timer: 0, abort: null };
  const searched = () => [...venues.values()].filter((venue) => !search.of.value || venue.source === search.of.value);

  function find(query) {
    const name = query.trim(), key = lookup(query), word = name.toLowerCase(), hits = [], offers = [];
    const near = (known, about) => { const at = known.indexOf(key); return known === key ? 0 : at === 0 ? 1 : at > 0 ? 2 : word && about?.toLowerCase().includes(word) ? 3 : -1; };
    for (const venue of searched()) {
      const hit = (symbol, about, rank) => hits.push({ source: venue.source, symbol, about: about ?? '', rank });
      for (const [symbol, known] of venue.names) { const rank = near(known.key, known.about); if (rank >= 0) hit(symbol, known.about, rank); }
      if (!venue.open) continue;
      // Of a venue without a list only what was chosen is known. It must not be taken for a longer name that is being typed.
      for (const row of rows.values()) if (row.source === venue.source && near(lookup(row.symbol)) >= 0) hit(row.symbol, '', row.symbol === name ? 0 : 5);
      if (name && !rows.has(keyOf(venue.source, name))) offers.push({ source: venue.source, symbol: name, about: 'ask for this name', rank: 4 });
      if (name && name === word && name !== name.toUpperCase()) offers.push({ source: venue.source, symbol: name.toUpperCase(), about: 'ask for it in capitals', rank: 4 });
    }
    // A venue whose list is not known yet can be asked, too.
    if (key && !hits.some((hit) => hit.rank === 0)) for (const venue of searched()) if (!venue.open && !venue.listed) offers.push({ source: venue.source, symbol: name, about: 'ask for this name', rank: 4 });
    hits.sort((a, b) => a.rank - b.rank);
    const listed = hits.slice(0, FOUND_MAX - offers.length), from = listed.findIndex((hit) => hit.rank > 4);
    listed.splice(from < 0 ? listed.length : from, 0, ...offers);
    return { hits: listed, more: hits.length + offers.length > listed.length ? hits.length : 0 };
  }

  function showFound() {
    const { hits, more } = find(search.input.value);
    const held = search.hits[search.on];
    search.hits = hits;
    search.on = held ? hits.findIndex((hit) => hit.symbol === held.symbol && hit.source === held.source) : -1;
    if (search.on < 0 && search.input.value.trim() && hits.length) search.on = 0;
    search.list.replaceChildren(...hits.map((hit, i) => {
      const added = rows.has(keyOf(hit.source, hit.symbol));
      const about = venues.size > 1 ? [hit.source, hit.about].filter(Boolean).join(' · ') : hit.about;
      const option = el('li', { id: `found-${i}`, role: 'option' }, el('b', {}, hit.symbol), el('span', { className: 'about' }, about), el('span', { className: 'act' }, added ? '✓ added, Enter removes' : 'add'));
      option.onmousedown = (event) => { event.preventDefault(); search.on = i; toggleFound(); };
      return option;
    }));
    const asked = searched(), open = asked.filter((venue) => venue.open).map((venue) => venue.source).join(' and ');
    const none = asked.some((venue) => venue.names.size) ? 'No symbol matches.' : open ? '' : 'No venue has listed its symbols yet. Type a whole name to ask for it.';
    const any = open && !search.input.value.trim() ? `${open} has no list of symbols: type a whole name, exactly as it is written there.` : '';
    put($('found-note'), [hits.length === 0 ? none : more ? `${count(more)} symbols match; type on to narrow them.` : '', any].filter(Boolean).join(' '));
    $('found-note').hidden = !$('found-note').textContent;
    search.box.hidden = false;
    search.input.setAttribute('aria-expanded', 'true');
    pointAt(search.on);
  }

  function pointAt(index) {
    search.list.children[search.on]?.classList.remove('on');
    search.on = index;
    [...search.list.children].forEach((option, i) => option.setAttribute('aria-selected', i === index));
    const option = search.list.children[index];
    option?.classList.add('on');
    option?.scrollIntoView({ block: 'nearest' });
    if (option) search.input.setAttribute('aria-activedescendant', option.id); else search.input.removeAttribute('aria-activedescendant');
  }

  function hideFound() {
    search.box.hidden = true; search.on = -1; search.hits = [];
    search.list.replaceChildren();
    search.input.setAttribute('aria-expanded', 'false');
    search.input.removeAttribute('aria-activedescendant');
  }

  function toggleFound() {
    const hit = search.hits[search.on];
    if (!hit) return;
    const wanted = !rows.has(keyOf(hit.source, hit.symbol));
    choose(hit.source, [hit.symbol], wanted);
    say(`${fullName(hit)} ${wanted ? 'added' : 'removed'}.`);
    search.input.select();
    showFound();
  }

  search.input.oninput = () => {
    // What was pointed at was an answer to other letters.
    search.on = -1;
    showFound();
    clearTimeout(search.timer); search.abort?.abort();
    const q = search.input.value.trim();
    if (q.length > 1) search.timer = setTimeout(async () => {
      search.abort = new AbortController();
      await Promise.all(searched().filter((venue) => !venue.open).map((venue) => fetchNames(venue.source, q, search.abort.signal)));
      if (!search.box.hidden && search.input.value.trim() === q) showFound();
    }, 150);
  };
  search.of.onchange = () => { paintPick(); if (!search.box.hidden) showFound(); };
  search.input.onfocus = showFound;
  search.input.onclick = showFound;
  search.input.onblur = hideFound;
  search.input.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) {
      event.preventDefault();
      if (search.box.hidden) return showFound();
      const n = search.hits.length;
      if (n) pointAt(Math.abs(step) > 1 ? Math.min(n - 1, Math.max(0, search.on + step)) : (search.on + step + (search.on < 0 && step < 0 ? 1 : 0) + n) % n);
    } else if (event.key === 'Enter') { event.preventDefault(); toggleFound(); }
    else if (event.key === 'Escape') {
      if (search.input.value) { search.input.value = ''; showFound(); }
      else if (!search.box.hidden) hideFound();
      else search.input.blur();
    }
  };

  /** The venues that can be picked, and what the field then takes. */
  function paintPick() {
    for (const { source } of venues.values()) if (![...search.of.options].some((option) => option.value === source)) search.of.append(el('option', { value: source }, source));
    search.of.hidden = venues.size < 2;
    const of = searched(), open = of.length > 0 && of.every((venue) => venue.open);
    search.input.placeholder = open ? 'any name, as it is written there' : of.some((venue) => venue.open) ? 'EURUSD, gold, or any name' : 'EURUSD, gold, …';
  }

  /** Opens the search for names of one venue. */
  function askOf(source) { search.of.value = source; paintPick(); search.input.focus(); search.input.select(); }

  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest?.('input, select')) { event.preventDefault(); search.input.focus(); search.input.select(); }
  });

  return { paintPick, askOf, focus: () => search.input.focus() };
}
