// Elements and words of the console page: what every part of it uses.

export const $ = (id) => document.getElementById(id);
export const el = (tag, props, ...kids) => { const node = Object.assign(document.createElement(tag), props); node.append(...kids); return node; };
export const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
export const mark = (node, name, value) => { if (node.dataset[name] !== value) node.dataset[name] = value; };
export const count = (n) => n.toLocaleString('en');
export const number = new Intl.NumberFormat('en', { maximumFractionDigits: 10 }).format;
export const lookup = (name) => name.replace(/[/\s]/g, '').toUpperCase();

export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d`;
}

const spoken = { queue: new Set(), timer: 0 };
/** Says a change to screen readers, changes of one second together; of many the newest. */
export function say(text) {
  spoken.queue.add(text);
  if (spoken.queue.size > 6) spoken.queue.delete(spoken.queue.values().next().value);
  spoken.timer ||= setTimeout(() => { put($('live'), [...spoken.queue].join(' ')); spoken.queue.clear(); spoken.timer = 0; }, 1000);
}

let noticeTimer = 0;
export function notice(text) {
  put($('notice'), text);
  $('notice').hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $('notice').hidden = true; }, 12000);
}
