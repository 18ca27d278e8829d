'use strict';
// Threads: each counts the primes of a range; a shared counter keeps them honest.
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

function countPrimes(from, to) {
  let count = 0;
  for (let n = Math.max(from, 2); n < to; n++) {
    let prime = true;
    for (let d = 2; d * d <= n && prime; d++) prime = n % d !== 0;
    if (prime) count++;
  }
  return count;
}

function start(index, shared) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { index, shared } });
    const answers = [];
    worker.on('message', (message) => answers.push(message));
    worker.on('error', reject);
    worker.on('exit', (code) => resolve({ index, code, answers }));
    worker.postMessage({ from: index * 5000, to: (index + 1) * 5000 });
  });
}

async function main() {
  const shared = new SharedArrayBuffer(8);
  const results = await Promise.all([0, 1, 2].map((index) => start(index, shared)));
  for (const { index, code, answers } of results) {
    console.log(`worker ${index} left with ${code}:`, answers);
  }
  const [total, rounds] = new Int32Array(shared);
  console.log('total', total, 'rounds', rounds);
  const failed = await start(-1, shared).catch((error) => error);
  console.log(failed instanceof RangeError, failed.message);
}

if (isMainThread) {
  main();
} else {
  const view = new Int32Array(workerData.shared);
  parentPort.once('message', ({ from, to }) => {
    if (from < 0) throw new RangeError(`cannot count from ${from}`);
    const count = countPrimes(from, to);
    Atomics.add(view, 0, count);
    for (let i = 0; i < 10000; i++) Atomics.add(view, 1, 1);
    parentPort.postMessage({ from, to, count });
    if (workerData.index === 2) process.exit(4);
  });
}
