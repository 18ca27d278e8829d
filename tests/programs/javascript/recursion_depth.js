'use strict';
// Recursion: deep, mutual, memoized, by trampoline, and without an end.
const sumTo = (n) => (n === 0 ? 0 : n + sumTo(n - 1));
const isEven = (n) => n === 0 || isOdd(n - 1);
const isOdd = (n) => n !== 0 && isEven(n - 1);

const trampoline = (f) => (...args) => {
  let result = f(...args);
  while (typeof result === 'function') result = result();
  return result;
};
const sumFar = trampoline(function step(n, total = 0) {
  return n === 0 ? total : () => step(n - 1, total + n);
});

function memo(f) {
  const known = new Map();
  return (n) => {
    if (!known.has(n)) known.set(n, f(n));
    return known.get(n);
  };
}
const catalan = memo((n) => {
  if (n === 0) return 1n;
  let sum = 0n;
  for (let i = 0; i < n; i++) sum += catalan(i) * catalan(n - 1 - i);
  return sum;
});

function* permutations(items) {
  if (items.length < 2) {
    yield items;
    return;
  }
  for (let i = 0; i < items.length; i++) {
    const rest = [...items.slice(0, i), ...items.slice(i + 1)];
    for (const tail of permutations(rest)) yield [items[i], ...tail];
  }
}

function queens(size, row = 0, columns = []) {
  if (row === size) return 1;
  let count = 0;
  for (let c = 0; c < size; c++) {
    if (columns.every((other, r) => other !== c && Math.abs(other - c) !== row - r)) {
      count += queens(size, row + 1, [...columns, c]);
    }
  }
  return count;
}

console.log('sum to 6000:', sumTo(6000), 'far:', sumFar(1000000), 'even:', isEven(4001));
console.log('catalan(60):', catalan(60), 'permutations:', [...permutations([...'abc'])].map((p) => p.join('')).join());
console.log('queens:', [4, 5, 6, 7, 8].map((size) => queens(size)));
try {
  (function forever() { return forever() + 1; })();
} catch (error) {
  console.log(error instanceof RangeError, error.message);
}
