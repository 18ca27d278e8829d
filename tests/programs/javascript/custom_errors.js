'use strict';
// Errors of one's own, what becomes of them, and in which order things happen.
class ParseError extends Error {
  constructor(message, { position, ...options } = {}) {
    super(message, options);
    this.name = 'ParseError';
    this.position = position;
  }
}

function evaluate(source) {
  const tokens = source.match(/\d+(?:\.\d+)?|[-+*/()]|\S/g) ?? [];
  let at = 0;
  const take = (pattern) => (pattern.test(tokens[at] ?? '') ? tokens[at++] : null);
  function factor() {
    if (take(/^\($/)) {
      const value = sum();
      if (!take(/^\)$/)) throw new ParseError('missing )', { position: at });
      return value;
    }
    if (take(/^-$/)) return -factor();
    const token = take(/^\d/);
    if (token === null) throw new ParseError(`unexpected ${tokens[at] ?? 'end'}`, { position: at });
    return Number(token);
  }
  function product() {
    let value = factor();
    for (let op; (op = take(/^[*/]$/)); ) value = op === '*' ? value * factor() : value / factor();
    return value;
  }
  function sum() {
    let value = product();
    for (let op; (op = take(/^[-+]$/)); ) value = op === '+' ? value + product() : value - product();
    return value;
  }
  const value = sum();
  if (at < tokens.length) throw new ParseError(`left over ${tokens[at]}`, { position: at });
  return value;
}

for (const source of ['1 + 2 * 3', '-(4 - 6) / 8', '2 * (3 + 4', '7 $ 1', '', '1 / 0']) {
  try {
    console.log(JSON.stringify(source), '=', evaluate(source));
  } catch (error) {
    console.log(JSON.stringify(source), `${error}`, error.position, error instanceof ParseError);
  }
}
const outer = new Error('outer', { cause: new ParseError('inner', { position: 1 }) });
console.log(outer.cause.name, new AggregateError([outer], 'all').errors.length);
process.on('exit', (code) => console.log('exit with', code));
setImmediate(() => Promise.reject(new ParseError('nobody caught this', { position: 0 })));
setImmediate(() => setTimeout(() => console.log('never'), 5));
Promise.allSettled([1, Promise.reject(outer)]).then((all) => console.log(all.map((one) => one.status)));
queueMicrotask(() => console.log('microtask'));
process.nextTick(() => console.log('tick'));
console.log('end of the script');
