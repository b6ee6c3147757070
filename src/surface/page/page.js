// The live page. It reads /overview every two seconds; all that it writes goes through textContent.
'use strict';

const EVERY = 2000;
const $ = id => document.getElementById(id);

// -- numbers for people

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const count = n => n >= 1e6 ? new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 }).format(n) : grouped.format(n);
const percent = share => `${Number((100 * share).toFixed(1))} %`;
const short = n => String(Number(n.toPrecision(3)));
const rate = n => n >= 1000 ? count(n) : short(n);

function seconds(s) {
  if (s === 0) return '0';
  if (s < 1e-3) return `${short(s * 1e6)} µs`;
  if (s < 1) return `${short(s * 1e3)} ms`;
  if (s < 120) return `${short(s)} s`;
  return s < 7200 ? `${short(s / 60)} min` : `${short(s / 3600)} h`;
}

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) { n /= 1024; at += 1; }
  return `${short(n)} ${units[at]}`;
}

// Sentences of the documentation mark words with backticks.
const plain = text => (text ?? '').replaceAll('`', '');

// -- plots

const perSecond = name => step => step[name] / Math.max(step.seconds, .001);
const of = (name, at) => step => step[name]?.[at] ?? null;
const plots = [
  new Plot({
    title: 'Hit ratio', kind: 'line', top: 1, format: percent,
    series: [{
      name: 'hits of hits and misses', color: 'hit',
      value: s => s.hit_count + s.miss_count ? s.hit_count / (s.hit_count + s.miss_count) : null,
    }],
  }),
  new Plot({
    title: 'Searches a second', kind: 'stack', format: rate,
    series: ['hit', 'miss', 'bypass', 'stale'].map(name => ({ name, color: name, value: perSecond(name) })),
  }),
  new Plot({
    title: 'Latency', kind: 'line', log: true, format: seconds,
    series: [
      { name: 'hit', color: 'hit', value: of('hit_seconds', 0) },
      { name: 'hit, 95 %', color: 'hit', dashed: true, value: of('hit_seconds', 1) },
      { name: 'miss', color: 'miss', value: of('miss_seconds', 0) },
      { name: 'direct', color: 'engine', value: of('engine_seconds', 0) },
    ],
  }),
  new Plot({
    title: 'Memory of answers', kind: 'stack', format: bytes, nice: binaryAbove,
    series: [{ name: 'bytes', color: 'hit', value: s => s.bytes }],
  }),
  new Plot({
    title: 'Evictions', kind: 'bars', format: n => short(n),
    series: [{ name: 'answers that went for want of room', color: 'miss', value: s => s.evictions }],
  }),
  new Plot({
    title: 'Changes', kind: 'bars', format: n => short(n),
    series: [{ name: 'changes that ended answers', color: 'change', value: s => s.changes }],
  }),
];
$('plots').append(...plots.map(plot => plot.element));

// -- tables

// Rows are kept by key, so that who has the focus in one keeps it; they change places only when nobody has.
function fill(table, items, key, cells, empty) {
  const body = table.tBodies[0], known = new Map([...body.rows].map(row => [row.dataset.key, row]));
  if (!items.length) {
    const cell = make('td', { colspan: table.tHead.rows[0].cells.length, class: 'empty' }, empty);
    const row = make('tr');
    row.append(cell);
    body.replaceChildren(row);
    return;
  }
  const rows = items.map(item => {
    const row = known.get(key(item)) ?? Object.assign(make('tr'), { fresh: true });
    row.dataset.key = key(item);
    cells(item).forEach((content, i) => {
      let cell = row.cells[i];
      if (!cell) {
        cell = make(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row' } : {});
        if (table.tHead.rows[0].cells[i].className) cell.className = table.tHead.rows[0].cells[i].className;
        row.append(cell);
      }
      if (typeof content === 'function') content(cell, row.fresh);
      else if (cell.textContent !== String(content)) cell.textContent = content;
    });
    row.fresh = false;
    return row;
  });
  if (body.contains(document.activeElement)) {
    const gone = [...body.rows].filter(row => !rows.includes(row) && !row.contains(document.activeElement));
    gone.forEach(row => row.remove());
    body.append(...rows.filter(row => !row.isConnected));
  } else {
    body.replaceChildren(...rows);
  }
}

function code(text, above) {
  return (cell, fresh) => {
    if (!fresh && cell.dataset.text === text) return;
    cell.dataset.text = text;
    const lines = [make('code', {}, text || '(everything)')];
    if (above) lines.unshift(make('span', { class: 'target' }, above));
    cell.replaceChildren(...lines);
  };
}

function why(search) {
  return (cell, fresh) => {
    if (fresh) {
      const button = make('button', { type: 'button' }, 'Explain');
      button.addEventListener('click', () => explainKnown(cell.search));
      cell.append(make('span'), ' ', button);
    }
    cell.search = search;
    const reason = search.reason ? (search.place ? `${search.reason} at ${search.place}` : search.reason) : '';
    cell.firstChild.textContent = reason;
    const button = cell.lastChild;
    button.setAttribute('aria-label', `Explain the search of ${search.target}: ${search.shape}`);
    button.disabled = !search.explainable;
    button.title = search.explainable ? '' : 'it is too long to be kept';
  };
}

function verdict(search) {
  return cell => {
    cell.textContent = search.verdict;
    cell.className = search.verdict === 'cacheable' ? 'good' : 'bad';
  };
}

let latest = null;

function ordered() {
  const by = document.querySelector('input[name=order]:checked').value;
  const order = search => search[`${by}_seconds`];
  return [...latest.searches].sort((a, b) => order(b) - order(a));
}

// What `escache warm` takes: a search in each line. What came with credentials cannot be asked without them.
function exportable() {
  return ordered().filter(search => search.example && search.verdict === 'cacheable' && !search.example.identity)
    .map(({ example: { method, path, headers, body } }) => ({ method, path, headers, ...(body ? { body } : {}) }));
}

function showSearches() {
  const searches = ordered().slice(0, 25);
  const button = $('export');
  button.hidden = !latest.show_queries;
  button.disabled = !exportable().length;
  $('no-export').hidden = latest.show_queries;
  fill($('searches'), searches, search => search.id, search => {
    const { method, path, body } = search.example ?? {};
    const text = search.example ? `${method} ${path}\n${body}` : search.shape;
    return [code(text, `${search.api} ${search.target}`), seconds(search.saved_seconds), seconds(search.spent_seconds),
      count(search.hits), count(search.asked), verdict(search), why(search)];
  }, 'No search has come yet.');
}

function show(overview) {
  latest = overview;
  const { totals, history, indices, reasons } = overview;
  const state = $('state');
  const engine = overview.engine ? `in front of ${overview.engine}`
    : overview.stranger ? `the upstream does not look like Elasticsearch or OpenSearch (${overview.stranger})`
      : 'the engine is not known yet';
  const words = overview.draining ? 'draining' : overview.reachable ? engine : 'the engine does not answer';
  const text = `${overview.version}, ${words}`;
  if (state.textContent !== text) state.textContent = text;
  state.className = overview.reachable && !overview.draining && !overview.stranger ? '' : 'bad';

  const { ratios } = totals, share = of => of === null ? '-' : percent(of);
  const tiles = [
    ['Hit ratio', share(ratios.hit_ratio)], ['Hits', count(ratios.hit_count)], ['Misses', count(ratios.miss_count)],
    ['Share of all searches', share(ratios.share_of_all_searches)], ['Bypassed', count(totals.searches.bypass)],
    ['Time saved', seconds(totals.saved_seconds)], ['Time still spent', seconds(totals.spent_seconds)],
    [`Memory of ${bytes(totals.capacity)}`, bytes(totals.bytes)], ['Answers stored', count(totals.entries)],
  ];
  $('totals').replaceChildren(...tiles.map(([name, value]) => {
    const tile = make('div');
    tile.append(make('dt', {}, name), make('dd', {}, value));
    return tile;
  }));
  plots.forEach(plot => plot.draw(history));
  showSearches();

  const all = reasons.reduce((sum, reason) => sum + reason.count, 0);
  fill($('reasons'), reasons, reason => reason.reason, reason => [
    code(reason.reason), count(reason.count),
    (cell, fresh) => {
      const meter = fresh ? cell.appendChild(make('meter', { max: 1 })) : cell.firstChild;
      meter.value = reason.count / all;
      meter.setAttribute('aria-label', `${percent(reason.count / all)} of all`);
      meter.title = percent(reason.count / all);
    },
    plain(reason.help), reason.advice,
  ], 'Every search so far could be answered from the cache.');

  const names = { _other: 'others', _cluster: 'the cluster' };
  fill($('indices'), indices.rows, row => row.index, row => [
    names[row.index] ?? row.index, count(row.hits + row.misses),
    row.hits + row.misses ? percent(row.hits / (row.hits + row.misses)) : '-',
    bytes(row.bytes), count(row.evictions), count(row.changes),
    Object.entries(row.causes).sort((a, b) => b[1] - a[1]).map(([cause, n]) => `${cause} ${count(n)}`).join(', ') || '-',
  ], 'No index has been searched yet.');
}

$('export').addEventListener('click', () => {
  const lines = exportable().map(search => `${JSON.stringify(search)}\n`);
  const url = URL.createObjectURL(new Blob(lines, { type: 'application/x-ndjson' }));
  const link = make('a', { href: url, download: 'searches.ndjson' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
  $('exported').textContent = `${lines.length} searches saved: escache warm searches.ndjson`;
});

// -- explain

async function ask(question) {
  const answer = await fetch('explain', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(question),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error?.reason ?? `status ${answer.status}`);
  return told;
}

function explanation(told) {
  const good = told.verdict === 'cacheable';
  const parts = (told.items ?? [told]).map(item => {
    const line = make('p');
    line.append(make('strong', { class: item.verdict === 'cacheable' ? 'good' : 'bad' }, item.verdict ?? 'unknown'));
    const state = item.entry ? `stored, ${item.entry.state}, ${bytes(item.entry.bytes)}` : 'not stored now';
    const reason = item.place ? `${item.reason} at ${item.place}` : item.reason;
    line.append(': ', item.verdict === 'cacheable' ? state : `${reason}. ${plain(item.help)} ${plain(item.advice)}`);
    return line;
  });
  if (told.note) parts.push(make('p', { class: 'hint' }, told.note));
  const details = make('details');
  details.open = good;
  details.append(make('summary', {}, 'All of it'), make('pre', { tabindex: '0' }, JSON.stringify(told, null, 2)));
  return [...parts, details];
}

async function explainKnown(search) {
  const body = $('explained-body');
  body.replaceChildren(make('p', {}, 'Asking'));
  $('explained-title').textContent = `${search.api} ${search.target}`;
  $('explained').showModal();
  const shape = make('pre', { tabindex: '0' }, search.example ? search.example.body || search.example.path : search.shape || '(everything)');
  try {
    body.replaceChildren(shape, ...explanation(await ask({ search: search.id })));
  } catch (error) {
    body.replaceChildren(shape, make('p', { class: 'bad' }, error.message));
  }
}

$('try').addEventListener('submit', async event => {
  event.preventDefault();
  const { method, path, body } = Object.fromEntries(new FormData(event.target));
  const question = { method, path, ...(body.trim() ? { body } : {}) };
  try {
    const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
    const sent = body.trim() ? ` -H 'Content-Type: application/json' -d ${quoted(body)}` : '';
    const curl = `curl -i -X ${method} ${quoted('http://localhost:9280' + path)}${sent}`;
    const told = explanation(await ask(question));
    $('tried').replaceChildren(...told, make('p', { class: 'hint' }, 'To send it through escache yourself:'), make('pre', { tabindex: '0' }, curl));
  } catch (error) {
    $('tried').replaceChildren(make('p', { class: 'bad' }, error.message));
  }
});

// -- the pulse

let paused = false;

async function refresh() {
  if (paused || document.hidden) return;
  try {
    const answer = await fetch('overview');
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    $('state').textContent = `escache does not answer: ${error.message}`;
    $('state').className = 'bad';
  }
}

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  refresh();
});
document.addEventListener('visibilitychange', refresh);
document.querySelectorAll('input[name=order]').forEach(input => input.addEventListener('change', () => latest && showSearches()));
refresh();
setInterval(refresh, EVERY);
