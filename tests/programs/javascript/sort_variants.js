'use strict';
// Several ways to sort, checked against each other.
const sorts = {
  insertion(list, less) {
    const out = [];
    for (const item of list) {
      let i = out.length;
      while (i > 0 && less(item, out[i - 1])) i--;
      out.splice(i, 0, item);
    }
    return out;
  },
  merge(list, less) {
    if (list.length < 2) return list;
    const middle = list.length >> 1;
    const [a, b] = [sorts.merge(list.slice(0, middle), less), sorts.merge(list.slice(middle), less)];
    const out = [];
    while (a.length && b.length) out.push(less(b[0], a[0]) ? b.shift() : a.shift());
    return [...out, ...a, ...b];
  },
  quick(list, less) {
    if (list.length < 2) return list;
    const [pivot, ...rest] = list;
    return [
      ...sorts.quick(rest.filter((x) => less(x, pivot)), less),
      pivot,
      ...sorts.quick(rest.filter((x) => !less(x, pivot)), less),
    ];
  },
};

function* random(seed, count) {
  for (let state = seed >>> 0; count > 0; count--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 16;
  }
}

const numbers = [...random(42, 500)];
const wanted = numbers.slice().sort((a, b) => a - b).join();
for (const [name, sort] of Object.entries(sorts)) {
  console.log(name.padEnd(10, '.'), sort(numbers, (a, b) => a < b).join() === wanted);
}
console.log('first five:', wanted.split(',', 5));
console.log('as strings:', [10, 9, 1, 100, -1].sort());
const people = [['Åse', 41], ['Bo', 30], ['Cy', 41], ['Di', 30], ['Eo', 25]].map(([name, age]) => ({ name, age }));
people.sort((a, b) => b.age - a.age);
console.log(people.map((p) => `${p.name}:${p.age}`).join(' '));
const byAge = people.reduce((map, p) => map.set(p.age, [...(map.get(p.age) ?? []), p.name]), new Map());
console.log(byAge, new Set(people.map((p) => p.age)));
console.log(Float64Array.of(3, -0, NaN, 0, -Infinity).sort(), [3, undefined, 1, , 2].sort());
console.table(people.slice(0, 2));
