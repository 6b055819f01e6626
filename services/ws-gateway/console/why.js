// Why a symbol is quiet: the gateway's answer, asked again while it is looked at.

import { $, duration, el, mark, put } from './page.js';

const WHY_EVERY_MS = 1500;

const quiet = { box: $('why'), row: null, asked: 0, busy: false, answer: null };

/** Opens the dialog for a row, called so. */
export function whyQuiet(row, name) {
  Object.assign(quiet, { row: { source: row.source, symbol: row.symbol }, asked: 0, busy: false, answer: null });
  put($('why-title'), `${name}: why is it quiet?`);
  put($('why-summary'), 'Asking the gateway …');
  $('why-hops').replaceChildren();
  if (!quiet.box.open) quiet.box.showModal();
  askWhy();
}

async function askWhy() {
  const { row } = quiet;
  if (quiet.busy) return;
  quiet.busy = true; quiet.asked = performance.now();
  let answer = null, trouble = 'The gateway does not answer.';
  try {
    const url = new URL('api/v1/why', location.href);
    url.search = new URLSearchParams(row);
    const told = await (await fetch(url, { signal: AbortSignal.timeout(5000) })).json();
    answer = told.data; trouble = told.error?.message ?? trouble;
  } catch { /* the words above */ }
  if (quiet.row !== row) return;
  quiet.busy = false;
  if (answer) { quiet.answer = answer; paintWhy(); } else put($('why-summary'), `${trouble} This page asks again.`);
}

/** Asks again where somebody looks and the last answer is old. */
export function askWhyAgain() {
  if (quiet.box.open && performance.now() - quiet.asked > WHY_EVERY_MS) askWhy();
}

function paintWhy() {
  const { answer } = quiet, first = answer.hops.findIndex((hop) => !hop.ok);
  put($('why-summary'), answer.summary);
  $('why-hops').replaceChildren(...answer.hops.map((hop, i) => {
    const glyph = el('i', {}, hop.ok ? '●' : '▲');
    glyph.setAttribute('aria-label', hop.ok ? 'right' : 'not right');
    glyph.setAttribute('role', 'img');
    const since = hop.since ? ` (for ${duration(answer.timestamp - hop.since)})` : '';
    const item = el('li', {}, glyph, el('b', {}, hop.name), `: ${hop.detail}`, el('span', { className: 'since' }, since), hop.next ? `. Next: ${hop.next}` : '');
    mark(item, 'hop', hop.name); mark(item, 'ok', String(hop.ok));
    if (i === first) mark(item, 'first', '');
    return item;
  }));
}

$('why-close').onclick = () => quiet.box.close();
quiet.box.onclick = (event) => { if (event.target === quiet.box) quiet.box.close(); };
quiet.box.onclose = () => { quiet.row = null; quiet.answer = null; };
