/** Line charts as SVG text: no script, no file beside it. */

export interface Axis {
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly logarithmic: boolean;
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
}
export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Of the legend and of the line: its place among PALETTE. */
  readonly color: number;
  readonly dashed?: boolean;
}
export interface ChartMark {
  readonly x: number;
  readonly text: string;
  readonly className: string;
}
export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
  readonly marks: readonly ChartMark[];
}

const WIDTH = 880;
const HEIGHT = 320;
const LEFT = 64;
const RIGHT = 16;
const TOP = 14;
const BOTTOM = 44;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT = HEIGHT - TOP - BOTTOM;
/** Told apart also by those who do not see red beside green (Okabe and Ito). */
export const PALETTE = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#888888'] as const;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (one) => ENTITIES[one] as string);

/** From 0 to 1 along an axis; what lies outside is moved to its end. */
export function placeOf(axis: Axis, value: number): number {
  const { min, max, logarithmic } = axis;
  const share = logarithmic
    ? (Math.log(Math.max(value, min)) - Math.log(min)) / (Math.log(max) - Math.log(min))
    : (value - min) / (max - min);
  return Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0));
}

const TENTHS = 10;
const rounded = (value: number): number => Math.round(value * TENTHS) / TENTHS;

export function svgOf(chart: Chart): string {
  const { x, y, lines, marks, title } = chart;
  const left = (value: number): number => rounded(LEFT + placeOf(x, value) * PLOT_WIDTH);
  const top = (value: number): number => rounded(TOP + (1 - placeOf(y, value)) * PLOT_HEIGHT);
  const floor = TOP + PLOT_HEIGHT;
  const out = [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}" xmlns="http://www.w3.org/2000/svg">`,
  ];
  for (const { at, text } of y.ticks)
    out.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${top(at)}" y2="${top(at)}"/>`,
      `<text class="tick" x="${LEFT - 6}" y="${top(at) + 4}" text-anchor="end">${escapeHtml(text)}</text>`,
    );
  for (const { at, text } of x.ticks)
    out.push(
      `<line class="grid" x1="${left(at)}" x2="${left(at)}" y1="${TOP}" y2="${floor}"/>`,
      `<text class="tick" x="${left(at)}" y="${floor + 16}" text-anchor="middle">${escapeHtml(text)}</text>`,
    );
  for (const { x: at, text, className } of marks)
    out.push(
      `<line class="mark ${escapeHtml(className)}" x1="${left(at)}" x2="${left(at)}" y1="${TOP}" y2="${floor}"><title>${escapeHtml(text)}</title></line>`,
    );
  for (const { name, points, color, dashed = false } of lines) {
    const path = points.map(([px, py]) => `${left(px)},${top(py)}`).join(' ');
    const stroke = PALETTE[color % PALETTE.length];
    out.push(
      `<polyline points="${path}" fill="none" stroke="${stroke}" stroke-width="1.6"${dashed ? ' stroke-dasharray="5 4"' : ''}><title>${escapeHtml(name)}</title></polyline>`,
    );
  }
  out.push(
    `<text class="label" x="${LEFT + PLOT_WIDTH / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(x.label)}</text>`,
    `<text class="label" transform="translate(14 ${TOP + PLOT_HEIGHT / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(y.label)}</text>`,
    '</svg>',
  );
  return out.join('\n');
}

export function legendOf(lines: readonly Line[]): string {
  const items = lines.map(
    ({ name, color }) =>
      `<span><i style="background:${PALETTE[color % PALETTE.length]}"></i>${escapeHtml(name)}</span>`,
  );
  return `<p class="legend">${items.join(' ')}</p>`;
}

const STEPS = [1, 2, 5] as const;
const TICKS_ABOUT = 6;
/** From 0 to a round number at or above `max`. */
export function linearAxis(label: string, max: number, textOf: (value: number) => string = String): Axis {
  const most = max > 0 ? max : 1;
  const raw = most / TICKS_ABOUT;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = (STEPS.find((one) => one * power >= raw) ?? 10) * power;
  const count = Math.ceil(most / step);
  const ticks = Array.from({ length: count + 1 }, (_, at) => {
    // Without the tail of binary fractions.
    const value = Number((at * step).toPrecision(12));
    return { at: value, text: textOf(value) };
  });
  return { label, min: 0, max: count * step, logarithmic: false, ticks };
}
/** Powers of ten around what is shown; `min` and `max` above 0. */
export function logarithmicAxis(label: string, min: number, max: number): Axis {
  const low = Math.floor(Math.log10(min));
  const high = Math.max(low + 1, Math.ceil(Math.log10(max)));
  const ticks = Array.from({ length: high - low + 1 }, (_, at) => {
    const value = 10 ** (low + at);
    return { at: value, text: value >= 1 ? String(value) : value.toFixed(-(low + at)) };
  });
  return { label, min: 10 ** low, max: 10 ** high, logarithmic: true, ticks };
}
/** Percentiles by nines: 0, 90, 99, 99.9 and so on are equally far apart. A place is -log10(1 - p). */
export function ninesAxis(label: string, ninesMax: number): Axis {
  const nines = Math.max(1, Math.ceil(ninesMax));
  const ticks = Array.from({ length: nines + 1 }, (_, at) => ({
    at,
    text: at === 0 ? '0%' : at === 1 ? '90%' : `${(100 * (1 - 10 ** -at)).toFixed(at - 2)}%`,
  }));
  return { label, min: 0, max: nines, logarithmic: false, ticks };
}
const HUNDRED = 100;
export const ninesOf = (percentile: number): number =>
  0 - Math.log10(Math.max(Number.EPSILON, 1 - percentile / HUNDRED));
