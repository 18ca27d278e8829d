'use strict';
// Big integers, and a lot of them: powers, factorials, digits of pi. Arguments: rows, step.
const [rows = 100, step = 1] = process.argv.slice(2).map(Number);

function* piDigits() {
  let [q, r, t, k, m, x] = [1n, 0n, 1n, 1n, 3n, 3n];
  for (;;) {
    if (4n * q + r - t < m * t) {
      yield m;
      [q, r, m] = [10n * q, 10n * (r - m * t), (10n * (3n * q + r)) / t - 10n * m];
    } else {
      [q, r, t, k, m, x] = [q * k, (2n * q + r) * x, t * x, k + 1n, (q * (7n * k + 2n) + r * x) / (t * x), x + 2n];
    }
  }
}

function isqrt(n) {
  if (n < 2n) return n;
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (;;) {
    const y = (x + n / x) >> 1n;
    if (y >= x) return x;
    x = y;
  }
}

let pi = '';
for (const digit of piDigits()) {
  pi += digit;
  if (pi.length === 300) break;
}
console.log(pi.match(/.{1,50}/g).join('\n'));

let factorial = 1n;
for (let n = 1n; n <= 100n; n++) factorial *= n;
console.log('100! =', factorial);
console.log('root of it:', isqrt(factorial), isqrt(factorial) ** 2n <= factorial);
console.log(-7n / 2n, -7n % 2n, BigInt.asIntN(8, 255n), BigInt.asUintN(64, -1n), 0xffffn.toString(36), 5n > 4, 2n == 2);
let written = 0;
for (let row = 1; row <= rows; row++) {
  const line = `2^${row * step} = ${2n ** BigInt(row * step)}\n`;
  written += line.length;
  process.stdout.write(line);
}
console.log(written, 'characters of powers');
