'use strict';
// JSON with revivers, replacers and dates; floating point as it prints.
const text = `{
  "orders": [
    {"id": 3, "at": "2023-12-31T23:59:59.999Z", "lines": [["pen", 12, 0.1], ["ink", 1, 7.25]]},
    {"id": 1, "at": "2024-02-29T12:00:00+02:00", "lines": [["caf\\u00e9", 3, 2.675]], "note": "\\ud83d\\ude00 \\"ok\\""},
    {"id": 2, "at": "1969-07-20T20:17:40Z", "lines": []}
  ]
}`;

const isDate = /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)$/;
const { orders } = JSON.parse(text, (key, value) => (isDate.test(value) ? new Date(value) : value));

class Total {
  #amount = 0;
  add(count, price) {
    this.#amount += count * price;
    return this;
  }
  get rounded() {
    return this.#amount.toFixed(2);
  }
  toJSON() {
    return { amount: this.#amount, rounded: this.rounded };
  }
}

const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
for (const order of orders.sort((a, b) => a.at - b.at)) {
  const { id, at, lines, note = 'no note' } = order;
  order.total = lines.reduce((total, [, count, price]) => total.add(count, price), new Total());
  console.log(`#${id} ${days[at.getUTCDay()]} ${at.toISOString()} ${order.total.rounded.padStart(7)} ${note}`);
  const next = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 0));
  console.log(`   month ends ${next.toISOString().slice(0, 10)}, ${at.getTime()} ms`);
}
console.log(JSON.stringify(orders, (key, value) => (key === 'lines' ? value.length : value), 2));
console.log(JSON.stringify({ u: undefined, n: NaN, d: new Date(0), m: new Map([[1, 2]]), z: -0, s: '\u2028\ud800' }));
console.log(0.1 + 0.2, 1e21, 123456789012345680000, 1 / 3, -1e-7, (255).toString(16), (0.1).toString(2).length);
console.log((1234.5678).toFixed(1), (1234.5678).toExponential(3), (1234.5678).toPrecision(6), Number('0x1F'), 2 ** 53 + 1);
for (const bad of ['{"a": 01}', '[1,]', '']) {
  try {
    JSON.parse(bad);
  } catch (error) {
    console.log(error.name, JSON.stringify(bad));
  }
}
const loop = { name: 'loop' };
loop.self = loop;
console.log(loop, structuredClone(loop).self.name);
