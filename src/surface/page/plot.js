// A plot of the last steps: drawn as SVG, read by pointing at it or with the arrow keys.
'use strict';

const WIDTH = 480, HEIGHT = 170, LEFT = 60, RIGHT = 8, TOP = 8, BOTTOM = 20;

function make(name, attributes = {}, text) {
  const element = name.startsWith('svg:')
    ? document.createElementNS('http://www.w3.org/2000/svg', name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// 1, 2 or 5 times a power of ten, not below the value.
function niceAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(n => n * power).find(n => n >= value * 0.999);
}

// A power of two, not below the value: for bytes.
function binaryAbove(value) {
  return 2 ** Math.ceil(Math.log2(Math.max(value, 1024)));
}

class Plot {
  // series: {name, color (a class), dashed, value: step => number or null}
  constructor({ title, kind, series, format, top, log, nice = niceAbove }) {
    Object.assign(this, { title, kind, series, format, top, log, nice, steps: [], at: null });
    this.element = make('figure');
    const caption = make('figcaption', {}, title);
    this.when = make('span', { class: 'when' });
    caption.append(this.when);
    this.svg = make('svg:svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', tabindex: '0' });
    this.legend = make('ul', { class: 'legend' });
    this.values = series.map(({ name, color, dashed }) => {
      const item = make('li', { class: color }), value = make('b', {}, '-');
      const mark = make('i', { 'aria-hidden': 'true' });
      if (dashed) mark.classList.add('dashed');
      item.append(mark, name + ' ', value);
      this.legend.append(item);
      return value;
    });
    this.element.append(caption, this.svg, this.legend);
    this.svg.addEventListener('pointermove', event => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.read(null));
    this.svg.addEventListener('blur', () => this.read(null));
    this.svg.addEventListener('keydown', event => this.key(event));
  }

  draw(steps) {
    // who reads a value goes on reading it while the plot moves on
    const read = this.at === null ? null : this.steps[this.at]?.at;
    this.steps = steps;
    this.rows = this.series.map(({ value }) => steps.map(value));
    this.scale();
    const parts = [...this.axis()];
    if (this.kind === 'stack') parts.push(...this.stack());
    else if (this.kind === 'bars') parts.push(...this.bars());
    else parts.push(...this.rows.flatMap((row, i) => [...this.line(row, this.series[i])]));
    this.cursor = make('svg:line', { class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' });
    this.svg.replaceChildren(...parts, this.cursor);
    const at = read === null ? -1 : steps.findIndex(step => step.at === read);
    this.read(at < 0 ? null : at);
  }

  scale() {
    const all = this.kind === 'stack'
      ? this.steps.map((_, i) => this.rows.reduce((sum, row) => sum + (row[i] ?? 0), 0))
      : this.rows.flat().filter(value => value !== null);
    const most = Math.max(0, ...all);
    if (this.log) {
      const least = Math.min(...all.filter(value => value > 0), most || 1);
      this.low = 10 ** Math.floor(Math.log10(least || 1e-4));
      this.high = Math.max(10 ** Math.ceil(Math.log10(most || 1e-2)), this.low * 10);
    } else {
      [this.low, this.high] = [0, this.top ?? this.nice(most)];
    }
  }

  x(i) {
    const last = this.steps.at(-1)?.at ?? 0, span = Math.max(last - (this.steps[0]?.at ?? 0), 1);
    return WIDTH - RIGHT - (last - this.steps[i].at) / span * (WIDTH - LEFT - RIGHT);
  }

  y(value) {
    const share = this.log
      ? (Math.log10(Math.max(value, this.low)) - Math.log10(this.low)) / (Math.log10(this.high) - Math.log10(this.low))
      : value / this.high;
    return HEIGHT - BOTTOM - Math.min(Math.max(share, 0), 1) * (HEIGHT - TOP - BOTTOM);
  }

  * axis() {
    const ticks = [];
    if (this.log) for (let tick = this.low; tick <= this.high * 1.01; tick *= 10) ticks.push(tick);
    else ticks.push(0, this.high / 2, this.high);
    for (const tick of ticks) {
      yield make('svg:line', { class: 'grid', x1: LEFT, x2: WIDTH - RIGHT, y1: this.y(tick), y2: this.y(tick) });
      yield make('svg:text', { class: 'tick', x: LEFT - 6, y: this.y(tick) + 4, 'text-anchor': 'end' }, this.format(tick));
    }
    if (this.steps.length < 2) return;
    const span = this.steps.at(-1).at - this.steps[0].at;
    yield make('svg:text', { class: 'tick', x: LEFT, y: HEIGHT - 5 }, ago(span));
    yield make('svg:text', { class: 'tick', x: WIDTH - RIGHT, y: HEIGHT - 5, 'text-anchor': 'end' }, 'now');
  }

  * line(row, { color, dashed }) {
    let path = '', pen = false;
    row.forEach((value, i) => {
      if (value === null) { pen = false; return; }
      const place = `${this.x(i).toFixed(1)} ${this.y(value).toFixed(1)}`;
      const alone = !pen && (row[i + 1] ?? null) === null;
      // a value without neighbours would not be seen as a line
      path += pen ? `L${place}` : alone ? `M${place}h2` : `M${place}`;
      pen = true;
    });
    yield make('svg:path', { class: `series ${color}${dashed ? ' dashed' : ''}`, d: path });
  }

  * stack() {
    const base = this.steps.map(() => 0);
    for (const [n, row] of this.rows.entries()) {
      // what never came has no band
      if (!row.some(value => value > 0)) continue;
      const upper = row.map((value, i) => base[i] + (value ?? 0));
      const points = list => list.map((value, i) => `${this.x(i).toFixed(1)} ${this.y(value).toFixed(1)}`);
      const [top, bottom] = [points(upper), points(base).reverse()];
      const { color } = this.series[n];
      yield make('svg:path', { class: `area ${color}`, d: `M${[...top, ...bottom].join('L')}Z` });
      yield make('svg:path', { class: `series ${color}`, d: `M${top.join('L')}` });
      upper.forEach((value, i) => { base[i] = value; });
    }
  }

  * bars() {
    const room = (WIDTH - LEFT - RIGHT) / Math.max(this.steps.length, 20), width = Math.max(room / this.rows.length - .5, 1);
    for (const [n, row] of this.rows.entries()) {
      for (const [i, value] of row.entries()) {
        if (!value) continue;
        const x = Math.max(this.x(i) - room + n * width, LEFT), y = this.y(value);
        const height = HEIGHT - BOTTOM - y;
        yield make('svg:rect', { class: `bar ${this.series[n].color}`, x, y, width, height });
      }
    }
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * WIDTH;
    let best = null;
    this.steps.forEach((_, i) => {
      if (best === null || Math.abs(this.x(i) - x) < Math.abs(this.x(best) - x)) best = i;
    });
    this.read(best);
  }

  key(event) {
    const last = this.steps.length - 1;
    if (last < 0) return;
    const at = this.at ?? last;
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last, Escape: null }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.read(next === null ? null : Math.min(Math.max(next, 0), last));
  }

  // Shows the values of a step; of the last one if it is null.
  read(at) {
    this.at = at;
    const i = at ?? this.steps.length - 1;
    const texts = this.rows?.map(row => (row[i] ?? null) === null ? '-' : this.format(row[i])) ?? [];
    texts.forEach((text, n) => { this.values[n].textContent = text; });
    if (this.steps.length) {
      this.when.textContent = at === null ? '' : ago(this.steps.at(-1).at - this.steps[i].at);
      this.cursor.setAttribute('visibility', at === null ? 'hidden' : 'visible');
      this.cursor.setAttribute('x1', this.x(i));
      this.cursor.setAttribute('x2', this.x(i));
    }
    const told = this.series.map(({ name }, n) => `${name} ${texts[n] ?? '-'}`).join(', ');
    this.svg.setAttribute('aria-label', `${this.title}: ${told}${at === null ? '' : ', ' + this.when.textContent}`);
  }
}

function ago(seconds) {
  if (seconds < 1) return 'now';
  return seconds < 90 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`;
}
